"""What one tenant's texts of late said, in memory, sorted as they come.

A segment that grows: the places of a new text are sorted among themselves and then let into the
sorted places of the others, each where a binary search puts it. A text of 500 tokens takes less
than a millisecond beside 64 thousand. What is handed out is never changed afterwards, so it may be
searched while the next text comes in.

An array rather than an automaton (which is what a text being written has): matches with it are
found by the very code that searches the segments on disk, it takes a sixth of the memory, and a
seal writes what is there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mmspec.retrieval.segment import Identity, Segment

NO_BUCKETS = np.zeros(0, np.int32)
NO_BUCKETS.flags.writeable = False


@njit(cache=True, nogil=True)
def _before(tokens: np.ndarray, one: int, other: int, depth: int, end: int) -> bool:
    """Whether the text at ``one`` sorts before that at ``other``, by at most ``depth`` tokens.

    Both end at their separator, ``end``; what is alike is sorted by place.
    """
    for offset in range(depth):
        left, right = tokens[one + offset], tokens[other + offset]
        if left != right:
            return left < right
        if left == end:
            break
    return one < other


@njit(cache=True, nogil=True)
def _sorted(tokens: np.ndarray, first: int, depth: int, end: int) -> np.ndarray:
    """The places from ``first`` on, sorted: by merging runs, bottom up."""
    count = len(tokens) - first
    order, spare = np.arange(first, len(tokens)).astype(np.int32), np.empty(count, np.int32)
    width = 1
    while width < count:
        for low in range(0, count, 2 * width):
            left, middle, high = low, min(low + width, count), min(low + 2 * width, count)
            right = middle
            for place in range(low, high):
                takes_left = left < middle and (
                    right >= high or _before(tokens, order[left], order[right], depth, end)
                )
                if takes_left:
                    spare[place] = order[left]
                    left += 1
                else:
                    spare[place] = order[right]
                    right += 1
        order, spare = spare, order
        width *= 2
    return order


@njit(cache=True, nogil=True)
def let_in(tokens: np.ndarray, order: np.ndarray, depth: int, end: int) -> np.ndarray:
    """Sorted places of all tokens, where those of all but the last texts are sorted already.

    Args:
        tokens: [N], texts, each with its separator.
        order: int32 [K], K <= N, the sorted places of the first K tokens.
        depth: how many tokens places are sorted by.
        end: the separator.
    """
    fresh = _sorted(tokens, len(order), depth, end)
    merged = np.empty(len(tokens), np.int32)
    copied, filled = 0, 0
    for place in fresh:
        low, high = copied, len(order)
        while low < high:
            middle = (low + high) >> 1
            if _before(tokens, order[middle], place, depth, end):
                low = middle + 1
            else:
                high = middle
        merged[filled : filled + low - copied] = order[copied:low]
        filled += low - copied
        copied = low
        merged[filled] = place
        filled += 1
    merged[filled:] = order[copied:]
    return merged


class Memtable:
    """Texts in memory.

    Attributes:
        segment: all of them, to be searched; replaced as a whole with every text.
        taken: when each was taken in, in seconds.
    """

    def __init__(self, identity: Identity, depth: int) -> None:
        """Empty; places are sorted by ``depth`` tokens, the longest match that is asked for."""
        self._identity, self._depth = identity, depth
        self.clear()

    def clear(self) -> None:
        """Hold nothing."""
        self.taken: list[int] = []
        self._room = np.empty(1024, self._identity.dtype)
        self.segment = self._hand_out(0, np.zeros(0, np.int32), np.zeros(1, np.int64))

    def __len__(self) -> int:
        return len(self.segment)

    def add(self, ids: np.ndarray, taken: int) -> None:
        """One text: int64 [K], K > 0, ids below the vocabulary."""
        now = self.segment
        end = len(now) + len(ids) + 1
        if end > len(self._room):
            grown = np.empty(2 * end, self._identity.dtype)
            grown[: len(now)] = now.tokens
            self._room = grown
        self._room[len(now) : end - 1] = ids
        self._room[end - 1] = self._identity.size
        order = let_in(self._room[:end], now.order, self._depth, self._identity.size)
        self.taken.append(taken)
        self.segment = self._hand_out(end, order, np.append(now.starts, end))

    def _hand_out(self, end: int, order: np.ndarray, starts: np.ndarray) -> Segment:
        tokens = self._room[:end]
        for array in (tokens, order, starts):
            array.flags.writeable = False
        return Segment("", tokens, order, starts, NO_BUCKETS)
