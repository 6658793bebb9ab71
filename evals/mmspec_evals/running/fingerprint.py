"""Identity of what measures and what is measured: source code and model files, by content."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Sources that cannot change what is measured, only how it is served, shown or trained. (Documents
# that training's generators make are in the plan by their own digests.)
_APART = ("serve", "train", "zoo", "results", "cli", "serving", "judge")
_PACKAGES = ("mmspec", "mmspec_kernels", "mmspec_evals")
_MODEL_FILES = ("*.json", "*.jinja", "*.safetensors", "*.bin", "*.model", "*.txt")


def code() -> str:
    """SHA-256 over every source file that has a part in measuring, checkout or not."""
    seal = hashlib.sha256()
    for package in _PACKAGES:
        root = Path(str(resources.files(package)))
        for path in sorted(root.rglob("*.py")):
            inner = path.relative_to(root)
            if inner.parts[0] not in _APART:
                seal.update(f"{package}/{inner.as_posix()}\0".encode())
                seal.update(path.read_bytes())
    return seal.hexdigest()


def model(path: str) -> str:
    """SHA-256 over configuration, tokenizer and weights of a folder; a hub id by its revision.

    Args:
        path: a bundled model's name, a folder, or a hub id whose configuration was fetched.
    """
    from mmspec.model.load import locate  # noqa: PLC0415  # loads torch

    folder = Path(locate(path))
    if not folder.is_dir():
        return _hub(path)
    found = {file for pattern in _MODEL_FILES for file in folder.glob(pattern)}
    return _files(folder, sorted(found))


def _files(root: Path, files: Iterable[Path]) -> str:
    seal = hashlib.sha256()
    for path in files:
        with path.open("rb") as opened:
            inner = hashlib.file_digest(opened, "sha256").hexdigest()
        seal.update(f"{path.relative_to(root).as_posix()} {inner}\n".encode())
    return seal.hexdigest()


def _hub(name: str) -> str:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  # comes with transformers

    found = try_to_load_from_cache(name, "config.json")
    # A cached file lies in .../snapshots/<revision>/config.json.
    return f"{name}@{Path(found).parent.name if isinstance(found, str) else 'unknown'}"
