"""Quotes: what several segments said after the last words of a text, the longest match first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmspec.retrieval.chunks import cut
from mmspec.retrieval.memtable import Memtable
from mmspec.retrieval.stack import LEVELS, Stack, search
from mmspec.retrieval.votes import PRIOR, grow, learn

if TYPE_CHECKING:
    from mmspec.retrieval.segment import Identity


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
        stack: Stack,
        text: np.ndarray,
        bars: np.ndarray,
        limits: tuple[int, int, int, int],
    ) -> Quotes | None:
        """What some segments say after a text; None: nothing.

        Args:
            stack: where to look.
            text: int64 [C].
            bars: int64 [1 + M], the size of the vocabulary, and ids that are never proposed.
            limits: longest and shortest match, most continuations of a level, most tokens of each.
        """
        most, least, samples, reach = limits
        if not len(stack):
            return None
        room = samples * LEVELS
        rows, lengths = np.empty((room, reach), np.int32), np.empty(room, np.int32)
        weights, levels = np.empty(room), np.empty((LEVELS, 2), np.int32)
        said = cls(rows, lengths, weights, levels, np.empty(LEVELS, np.int32))
        limited, now = (most, least, samples), int(time.time())
        filled, count = search(stack.parts, text, bars, limited, now, tuple(said))
        if filled == 0:
            return None
        kept = rows[:filled], lengths[:filled], weights[:filled]
        return cls(*kept, levels[:count], said.matches[:count])


def warm(identity: Identity, stops: np.ndarray) -> None:
    """Compile everything for one tokenizer's width of ids."""
    table = Memtable(identity, 4)
    table.add(np.array([0, 1, 0, 1], np.int64), 0)
    table.add(np.array([0, 1], np.int64), 0)
    cut(np.zeros(4, np.int64))
    text = np.array([1, 0], np.int64)
    text.flags.writeable = False
    bars = np.array([identity.size, -1], np.int64)
    said = Quotes.find(Stack([table.segment]), text, bars, (4, 1, 4, 4))
    if said is not None:
        learn(*said, PRIOR.copy(), text)
        grow(*said, PRIOR.copy(), stops, (0, 4, 2, 0.01))
