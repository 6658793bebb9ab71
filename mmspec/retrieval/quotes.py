"""Quotes: what several segments said after the longest suffix of a text that any of them holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmspec.retrieval.chunks import cut
from mmspec.retrieval.memtable import Memtable
from mmspec.retrieval.segment_search import longest, sample, tail
from mmspec.retrieval.votes import PRIOR, arrange, grow, learn

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.retrieval.segment import Identity, Segment


class Quotes(NamedTuple):
    """Axes: R continuations, L tokens of each at most.

    Attributes:
        rows: int32 [R, L], sorted.
        lengths: int32 [R].
        weights: float64 [R], occurrences that each stands for.
        match: tokens of the match they follow.
    """

    rows: np.ndarray
    lengths: np.ndarray
    weights: np.ndarray
    match: int

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
            limits: longest and shortest match, most continuations, most tokens of each.
        """
        most, least, samples, reach = limits
        context = text[len(text) - tail(text, bars, most) :]
        matches: list[tuple[Segment, tuple[int, int, int]]] = []
        for one in segments:
            found = longest(one.tokens, one.order, one.buckets, context, least)
            if found[0] > 0:
                if found[0] > least or not matches:
                    least, matches = found[0], []
                matches.append((one, found))
        if not matches:
            return None
        rows, lengths = np.empty((samples, reach), np.int32), np.empty(samples, np.int32)
        weights, filled, now = np.empty(samples), 0, int(time.time())
        matches = matches[:samples]
        for left, (one, found) in zip(range(len(matches), 0, -1), matches, strict=True):
            room = slice(filled, filled + (samples - filled) // left)
            some = sample(
                one.tokens, one.order, one.starts, one.dead, found, bars, rows[room], lengths[room]
            )
            if some:
                weights[filled : filled + some] = (found[2] - found[1]) / some
                filled += some
                one.used[0] += 1
                one.used[1] = now
        if filled == 0:
            return None
        said = cls(rows[:filled], lengths[:filled], weights[:filled], least)
        if len(matches) > 1 or not len(matches[0][0].buckets):  # one sorted file is sorted already
            arrange(said.rows, said.lengths, said.weights)
        return said


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
        learn(said.rows, said.lengths, said.match, PRIOR.copy(), text)
        grow(*said, PRIOR.copy(), stops, (0, 4, 2, 0.01))
