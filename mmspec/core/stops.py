"""Where one sequence's text ends, as drafters need to know it: nothing is guessed below there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.sampling import stop_tokens

if TYPE_CHECKING:
    from mmspec.core.sequence import Sequence


class Stops:
    """The model's stop ids, as each request changes them: adds its own, or ignores the model's.

    Args:
        model: ids that end a text unless a request says otherwise.
    """

    __slots__ = ("_everyone", "_model")

    def __init__(self, model: frozenset[int]) -> None:
        self._model = model
        self._everyone = _row(model)

    def of(self, sequence: Sequence) -> np.ndarray:
        """Ids that end this sequence's text, int64 [M], ascending."""
        sampling = sequence.request.sampling
        if not sampling.stop_token_ids and not sampling.ignore_eos:
            return self._everyone
        return _row(stop_tokens(sampling, self._model))


def _row(ids: frozenset[int]) -> np.ndarray:
    return np.array(sorted(ids), np.int64)
