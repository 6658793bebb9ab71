"""Several segments searched as one: the longest match anywhere, shorter ones, what followed each.

One compiled call a text. Axes: R continuations, L tokens of each at most, K levels.
"""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numba.typed import List

from mmspec.retrieval.segment_search import longest, occurring, sample, tail
from mmspec.retrieval.votes import arrange

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.retrieval.segment import Segment

LADDER = (12, 8, 6, 4, 3, 2, 1)  # shorter matches that are asked for beside the longest
LEVELS = 4  # matches of different lengths, at most


class Stack:
    """Segments of one tokenizer, as compiled code reads them.

    Attributes:
        parts: of each segment its tokens, order, buckets, starts, dead and used.
    """

    __slots__ = ("_seen", "parts")

    def __init__(self, segments: ListOf[Segment]) -> None:
        self._seen = _changing(segments)
        self.parts = List()
        for one in segments:
            self.parts.append((one.tokens, one.order, one.buckets, one.starts, one.dead, one.used))

    def __len__(self) -> int:
        return len(self._seen) // 2

    def holds(self, segments: ListOf[Segment]) -> bool:
        """Whether it was made of these, as they are now."""
        now = _changing(segments)
        return len(now) == len(self._seen) and all(map(is_, now, self._seen))


def _changing(segments: ListOf[Segment]) -> list[object]:
    return [part for one in segments for part in (one, one.dead)]


@njit(cache=True, nogil=True)
def search(
    parts: List,
    text: np.ndarray,
    bars: np.ndarray,
    limits: tuple[int, int, int],
    now: int,
    out: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> tuple[int, int]:
    """What segments say after a text.

    Args:
        parts: of a stack; ``used`` counts.
        text: int64 [C].
        bars: int64 [1 + M], the size of the vocabulary, and ids that are never proposed.
        limits: longest and shortest match, most continuations of a level.
        now: seconds.
        out: filled with what ``Quotes`` holds, in its order.

    Returns:
        How many rows and how many levels were filled.
    """
    rows, lengths, weights, levels, matches = out
    most, least, samples = limits
    context = text[len(text) - tail(text, bars, most) :]
    found = np.zeros((len(parts), 3), np.int64)
    top = _longest(parts, context, least, found)
    filled, count, heard = 0, 0, 0
    for rung in range(-1, len(LADDER) if top > 0 else -1):
        length = top if rung < 0 else LADDER[rung]
        if length < least or count == len(levels):
            break
        if rung >= 0:
            if length >= top:
                continue
            for index, (tokens, order, buckets, _, _, _) in enumerate(parts):
                found[index] = occurring(tokens, order, buckets, context, length)
        occur = (found[:, 2] - found[:, 1]).sum()
        if occur == heard:  # the longer match said all of it
            continue
        heard, end = occur, filled + samples
        room = rows[filled:end], lengths[filled:end], weights[filled:end]
        some = _fill(parts, found, bars, now, room)
        if some > 0:
            levels[count, 0], levels[count, 1], matches[count] = filled, filled + some, length
            filled, count = filled + some, count + 1
    return filled, count


@njit(cache=True, nogil=True)
def _longest(parts: List, context: np.ndarray, least: int, found: np.ndarray) -> int:
    """The longest match anywhere; where it is, into int64 [S, 3] ``found``."""
    top = 0
    for index, (tokens, order, buckets, _, _, _) in enumerate(parts):
        found[index] = longest(tokens, order, buckets, context, max(least, top))
        top = max(top, found[index, 0])
    for index in range(len(found)):
        if found[index, 0] < top:
            found[index] = 0
    return top


@njit(cache=True, nogil=True)
def _fill(
    parts: List,
    found: np.ndarray,
    bars: np.ndarray,
    now: int,
    room: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> int:
    """Sample what followed, arranged, into rows, lengths and weights; how many there are."""
    rows, lengths, weights = room
    left = min((found[:, 0] > 0).sum(), len(rows))
    filled, sorted_ = 0, left == 1
    for index, (tokens, order, buckets, starts, dead, used) in enumerate(parts):
        if left == 0 or found[index, 0] == 0:
            continue
        end = filled + (len(rows) - filled) // left
        match = found[index, 0], found[index, 1], found[index, 2]
        part = rows[filled:end], lengths[filled:end]
        some = sample(tokens, order, starts, dead, match, bars, part[0], part[1])
        if some > 0:
            weights[filled : filled + some] = (match[2] - match[1]) / some
            filled += some
            used[0] += 1
            used[1] = now
        left -= 1
        sorted_ = sorted_ and len(buckets) > 0  # one file is sorted already
    if not sorted_:
        arrange(rows[:filled], lengths[:filled], weights[:filled])
    return filled
