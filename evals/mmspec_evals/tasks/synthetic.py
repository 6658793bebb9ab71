"""A corpus of documents that our own code made."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from mmspec_evals.doc import Text
from mmspec_evals.task import Corpus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mmspec_evals.doc import Doc


def corpus(docs: Iterable[Doc], note: str) -> Corpus:
    """Made documents, identified by their words, pictures' names and targets."""
    made = tuple(docs)
    return Corpus(made, "synthetic", None, _sha(made), len(made), note=note)


def _sha(docs: tuple[Doc, ...]) -> str:
    told = [
        [
            [part.text if isinstance(part, Text) else part.name for part in turn]
            for turn in doc.turns
        ]
        + [doc.target]
        for doc in docs
    ]
    return sha256(msgspec.json.encode(told)).hexdigest()
