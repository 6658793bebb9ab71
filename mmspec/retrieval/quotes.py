"""Quotes: what several segments said after the last words of a text, the longest match first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmspec.retrieval.chunks import cut
from mmspec.retrieval.memtable import Memtable
from mmspec.retrieval.segment_search import longest, occurring, sample, tail
from mmspec.retrieval.votes import PRIOR, arrange, grow, learn

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.retrieval.segment import Identity, Segment


LADDER = (12, 8, 6, 4, 3, 2, 1)  # shorter matches that are asked for beside the longest
LEVELS = 4  # matches of different lengths, at most
Match = tuple[int, int, int]  # tokens, and where the occurrences lie among the sorted


class Quotes(NamedTuple):
    """Axes: R continuations, L tokens of each at most, K levels.

    Attributes:
        rows: int32 [R, L], sorted within each level.
        lengths: int32 [R].
        weights: float64 [R], occurrences that each stands for.
        levels: int32 [K, 2], each level's rows, the longest match first.
        matches: int32 [K], tokens of the matches they follow.
    """

    rows: np.ndarray
    lengths: np.ndarray
    weights: np.ndarray
    levels: np.ndarray
    matches: np.ndarray

    @classmethod
    def find(
        cls,
        segments: ListOf[Segment],
        text: np.ndarray,
        bars: np.ndarray,
        limits: tuple[int, int, int, int],
    ) -> Quotes | None:
        """What the segments say after a text; None: nothing.

        Args:
            segments: where to look.
            text: int64 [C].
            bars: int64 [1 + M], the size of the vocabulary, and ids that are never proposed.
            limits: longest and shortest match, most continuations of a level, most tokens of each.
        """
        most, least, samples, reach = limits
        context = text[len(text) - tail(text, bars, most) :]
        found = _longest(segments, context, least)
        if not found:
            return None
        rows = np.empty((samples * LEVELS, reach), np.int32)
        lengths, weights = np.empty(len(rows), np.int32), np.empty(len(rows))
        levels: list[tuple[int, int]] = []
        matches: list[int] = []
        filled = heard = 0
        for length in (found[0][1][0], *(one for one in LADDER if one < found[0][1][0])):
            if length < least or len(levels) == LEVELS:
                break
            if levels:
                found = _shorter(segments, context, length)
            occur = sum(end - first for _, (_, first, end) in found)
            if occur == heard:  # the longer match said all of it
                continue
            heard, end = occur, filled + samples
            room = rows[filled:end], lengths[filled:end], weights[filled:end]
            some = _fill(found, bars, room)
            if some:
                levels.append((filled, filled + some))
                matches.append(length)
                filled += some
        if filled == 0:
            return None
        said = rows[:filled], lengths[:filled], weights[:filled]
        return cls(*said, np.array(levels, np.int32), np.array(matches, np.int32))


def _longest(
    segments: ListOf[Segment], context: np.ndarray, least: int
) -> list[tuple[Segment, Match]]:
    """The longest matches, and whose they are."""
    matches: list[tuple[Segment, Match]] = []
    for one in segments:
        found = longest(one.tokens, one.order, one.buckets, context, least)
        if found[0] > 0:
            if found[0] > least or not matches:
                least, matches = found[0], []
            matches.append((one, found))
    return matches


def _shorter(
    segments: ListOf[Segment], context: np.ndarray, length: int
) -> list[tuple[Segment, Match]]:
    """Matches of one length, and whose they are."""
    told = [
        (one, occurring(one.tokens, one.order, one.buckets, context, length)) for one in segments
    ]
    return [(one, found) for one, found in told if found[0]]


def _fill(
    matches: list[tuple[Segment, Match]],
    bars: np.ndarray,
    room: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> int:
    """Sample what followed, arranged, into rows, lengths and weights; how many there are."""
    rows, lengths, weights = room
    filled, now = 0, int(time.time())
    matches = matches[: len(rows)]
    for left, (one, found) in zip(range(len(matches), 0, -1), matches, strict=True):
        part = slice(filled, filled + (len(rows) - filled) // left)
        some = sample(
            one.tokens, one.order, one.starts, one.dead, found, bars, rows[part], lengths[part]
        )
        if some:
            weights[filled : filled + some] = (found[2] - found[1]) / some
            filled += some
            one.used[0] += 1
            one.used[1] = now
    if len(matches) > 1 or not len(matches[0][0].buckets):  # one sorted file is sorted already
        arrange(rows[:filled], lengths[:filled], weights[:filled])
    return filled


def warm(identity: Identity, stops: np.ndarray) -> None:
    """Compile everything for one tokenizer's width of ids."""
    table = Memtable(identity, 4)
    table.add(np.array([0, 1, 0, 1], np.int64), 0)
    table.add(np.array([0, 1], np.int64), 0)
    cut(np.zeros(4, np.int64))
    text = np.array([1, 0], np.int64)
    text.flags.writeable = False
    bars = np.array([identity.size, -1], np.int64)
    said = Quotes.find([table.segment], text, bars, (4, 1, 4, 4))
    if said is not None:
        learn(*said, PRIOR.copy(), text)
        grow(*said, PRIOR.copy(), stops, (0, 4, 2, 0.01))
