"""What token ids spell: whether two models speak of the same thing when they name one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from transformers.utils import cached_file


def spelling(source: str) -> str | None:
    """SHA-256 of what every id of a model's tokenizer spells; None where that is not known.

    How text is cut into tokens and how the file is written do not count: who only reads ids
    understands another model if the same ids spell the same.

    Args:
        source: a folder or hub id, with a ``tokenizer.json``; empty when unknown.
    """
    if not source:
        return None
    try:
        path = cached_file(source, "tokenizer.json")
        told = None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict) or "vocab" not in told.get("model", {}):
        return None
    pairs = json.dumps(sorted(_spelt(told).items())).encode()
    return hashlib.sha256(pairs).hexdigest()


def _spelt(told: dict[str, Any]) -> dict[int, str]:
    """Id -> piece, of a parsed ``tokenizer.json``."""
    pieces = told["model"]["vocab"]
    if isinstance(pieces, dict):
        spelt = {id: piece for piece, id in pieces.items()}
    else:  # unigram models list (piece, score)
        spelt = {id: piece for id, (piece, _) in enumerate(pieces)}
    return spelt | {added["id"]: added["content"] for added in told.get("added_tokens", ())}
