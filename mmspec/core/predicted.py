"""How much of a prediction came true: accepted and rejected tokens, as usage reports them.

A token of the prediction is accepted when it comes after the same token as there: that much can be
known when it is guessed. Over a whole text, in order and each but once, that is the longest common
subsequence of neighbouring pairs, found a bit a pair (Hyyrö 2004). A function of the two texts
alone: what drafters did has no part in it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

WORD = 64
_ONE = np.uint64(1)


class Predicted:
    """A prediction, and the text that is being written beside it.

    Args:
        tokens: int64 [K], the prediction.
    """

    __slots__ = ("_bits", "_last", "_tokens")

    def __init__(self, tokens: np.ndarray) -> None:
        self._tokens = np.append(np.int64(-1), tokens)  # -1 stands before both texts
        self._bits = np.full((len(tokens) + WORD - 1) // WORD, ~np.uint64(0))
        self._last = -1

    def push(self, tokens: tuple[int, ...]) -> None:
        """The text goes on."""
        for token in tokens:
            _push(self._tokens, self._bits, self._last, token)
            self._last = token

    @property
    def accepted(self) -> int:
        """Tokens of the prediction that have come."""
        return len(self._tokens) - 1 - self.rejected

    @property
    def rejected(self) -> int:
        """Those that have not."""
        ones = int(np.bitwise_count(self._bits).sum())
        return ones - (WORD * len(self._bits) - len(self._tokens) + 1)


@njit(cache=True, nogil=True)
def _push(tokens: np.ndarray, bits: np.ndarray, last: int, token: int) -> None:
    """One more row of the table: a bit is 0 where the subsequence grew by its pair."""
    carry = np.uint64(0)
    for word in range(len(bits)):
        equal = np.uint64(0)
        first = word * WORD
        for place in range(first, min(first + WORD, len(tokens) - 1)):
            if tokens[place] == last and tokens[place + 1] == token:
                equal |= _ONE << np.uint64(place - first)
        old = bits[word]
        both = old & equal
        total = old + both
        over = np.uint64(total < old)
        total += carry
        carry = over | np.uint64(total < carry)
        bits[word] = total | (old & ~equal)
