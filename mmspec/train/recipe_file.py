"""Recipe files: read strictly, and told of in what they lead to."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
import torch

from mmspec import __version__
from mmspec.core.errors import ConfigError
from mmspec.train.regenerate import tokenizer_digest

if TYPE_CHECKING:
    from mmspec.train.asked import Asked
    from mmspec.train.responses import Responses

Recipe = TypeVar("Recipe", bound=msgspec.Struct)
N = TypeVar("N")
N_contra = TypeVar("N_contra", contravariant=True)
Keep = Callable[[int, Mapping[str, float]], None]


class Save(Protocol[N_contra]):
    """Writes a drafter's checkpoint folder."""

    def __call__(
        self, folder: Path, network: N_contra, *, tokenizer: str, training: Mapping[str, Any],
        dtype: torch.dtype,
    ) -> None:  # fmt: skip
        """See the drafter's own ``save_checkpoint``."""


def read(kind: type[Recipe], shipped: str, path: Path | None) -> Recipe:
    """The recipe at ``path``, or the shipped one of that file name.

    A bare name of no file here is that of a recipe that is shipped beside.

    Raises:
        ConfigError: no such file, an unknown key, a value of the wrong kind.
    """
    own = path is not None and (path.exists() or path.parent != Path())
    try:
        if path is not None and own:
            data = path.read_bytes()
        else:
            name = shipped if path is None else path.name
            data = resources.files("mmspec.train.recipes").joinpath(name).read_bytes()
        return msgspec.toml.decode(data, type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path or shipped}: {error}") from error


def provenance(
    recipe: msgspec.Struct, seed: int, asked: Asked, answers: Responses
) -> dict[str, object]:
    """Where a drafter comes from: recipe, data, target, commit and versions."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "recipe": msgspec.to_builtins(recipe),
        "seed": seed,
        "target": asked.target,
        "fingerprint": answers.manifest.fingerprint,
        "questions": answers.manifest.questions,
        "answers": len(answers),
        "commit": commit or "unknown",
        "mmspec": __version__,
        "torch": str(torch.__version__),
    }


def keeper(asked: Asked, network: N, origin: Mapping[str, object], save: Save[N]) -> Keep:
    """What writes ``asked.out``/drafter while a network learns: (step, numbers of a trial)."""

    def keep(step: int, trial: Mapping[str, float]) -> None:
        told = {**origin, "step": step, "trial": dict(trial)}
        hashed = tokenizer_digest(asked.target)
        folder = asked.out / "drafter"
        save(folder, network, tokenizer=hashed, training=told, dtype=torch.bfloat16)

    return keep
