"""An answer that is expected, to token ids: for the server and for Python alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from mmspec.core.errors import BadRequestError
from mmspec.vision.prompt import check_characters

if TYPE_CHECKING:
    from mmspec.core.request import Prompt


class TextProcessor(Protocol):
    """The part of the model's processor that reads plain text."""

    @property
    def special_tokens(self) -> frozenset[int]:
        """Ids that stand for no text."""
        ...

    def text(self, text: str) -> Prompt:
        """A plain text prompt; what looks like control stays text."""
        ...


def predicted(text: str, processor: TextProcessor, max_context: int) -> np.ndarray:
    """Token ids of an answer that is expected: int64 [K].

    All of it is text, names of control tokens and of pictures' placeholders too.

    Raises:
        BadRequestError: ``context_length_exceeded``.
    """
    check_characters(len(text), max_context, "prediction")
    ids = processor.text(text).ids
    # Read as text, no token is special but those that a tokenizer adds at the ends.
    ids = ids[~np.isin(ids, sorted(processor.special_tokens))]
    if len(ids) > max_context:
        raise BadRequestError(
            f"this model's context is {max_context} tokens; the prediction has {len(ids)}",
            "prediction",
            "context_length_exceeded",
        )
    return ids
