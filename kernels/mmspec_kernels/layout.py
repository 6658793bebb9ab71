"""How the rows of one packed step lie over the cache: the argument every kernel shares.

Axes: T rows of a packed call, W widest tail, R rows of a prefix window.

A query at absolute position p divides its keys at ``split(p)``, a function of p alone. Keys before
it (the prefix) are read as one unmasked block by all rows with the same split; keys from it on
(the tail) are gathered per row in path order. So a node adds up the same numbers in the same order
as plain decoding of its own path would, whatever tree it stands in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

GRAIN = 32  # splits move in steps of this many positions


def split(position: np.ndarray, reach: int) -> np.ndarray:
    """First tail position of queries at ``position`` [T]; ``reach`` is the deepest tree allowed.

    Never falls inside a tree whose root is at ``position - reach`` or later.

    >>> split(np.array([500, 527, 528, 10]), 16).tolist()
    [480, 480, 512, 0]
    """
    return np.maximum(0, (position - reach) // GRAIN * GRAIN)


def tail_width(reach: int) -> int:
    """Most keys a tail can hold, the query's own included."""
    return GRAIN + reach


@dataclass(frozen=True, slots=True)
class Window:
    """R query rows from ``first`` read the keys in slots ``[start, stop)``, unmasked.

    Where there are ``slots``, int64 [K], start and stop count along these.
    """

    first: int
    start: int
    stop: int
    slots: np.ndarray | None = field(default=None, compare=False)

    def read(self) -> np.ndarray:
        """The slots it reads, int64 [stop - start]."""
        every = np.arange(self.start, self.stop)
        return every if self.slots is None else self.slots[every]


@dataclass(frozen=True, slots=True)
class Reading:
    """Which keys each row reads on one kind of layer (full, or sliding by some width).

    Attributes:
        windows: the shared prefix blocks, each read by R rows at once.
        window: int32 [T], which window holds the row's prefix part; -1 when there is none.
        offset: int32 [T], the row's place in its window.
        extra, extra_end: int64 [T], slots read one by one before the tail (where a sliding edge
            differs from row to row).
        skip: int32 [T], leading tail keys out of a sliding window.
        placed: by device, what kernels there made of this reading.
    """

    windows: tuple[Window, ...]
    window: np.ndarray
    offset: np.ndarray
    extra: np.ndarray
    extra_end: np.ndarray
    skip: np.ndarray
    placed: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TreeLayout:
    """Where the rows of packed trees write and what they read.

    Attributes:
        slots: int64 [T], where each row's key and value go.
        path: int32 [T, W], slots of the row's tail in path order, its own last.
        tail: int32 [T], how many entries of ``path`` count; 0 marks a padding row.
        position: int64 [T], index of the row in its sequence (logical, not rotary).
        base: int64 [T], slot of the sequence's position 0.
        rows: R, query rows of a prefix window.
        reach: the deepest tree allowed; it fixes the splits.
        count: rows that are not padding; they come first.
    """

    slots: np.ndarray
    path: np.ndarray
    tail: np.ndarray
    position: np.ndarray
    base: np.ndarray
    rows: int
    reach: int
    count: int

    def reading(self, sliding: int | None) -> Reading:
        """What every row reads on a layer that sees ``sliding`` keys back (None: all).

        On sliding layers the shared block holds only keys that *every* position with the same
        split sees, so that it too is a function of the split alone.
        """
        total = len(self.slots)
        parts = split(self.position, self.reach)
        if sliding is None:
            shared = first_seen = np.zeros_like(parts)
        else:
            furthest = parts + GRAIN - 1 + self.reach
            shared = np.minimum(np.maximum(furthest - sliding + 1, 0), parts)
            first_seen = np.maximum(self.position - sliding + 1, 0)
        window = np.full(total, -1, np.int32)
        offset = np.zeros(total, np.int32)
        windows: list[Window] = []
        waiting = np.flatnonzero((self.tail > 0) & (parts > shared))
        stops = self.base + parts  # tells both the sequence and the split
        while len(waiting):
            row = waiting[0]
            first = max(0, min(int(row), total - self.rows))
            inside = (stops[waiting] == stops[row]) & (waiting < first + self.rows)
            mine = waiting[inside]
            window[mine] = len(windows)
            offset[mine] = mine - first
            start = self.base[row] + shared[row]
            windows.append(Window(first, int(start), int(stops[row])))
            waiting = waiting[~inside]
        return Reading(
            windows=tuple(windows),
            window=window,
            offset=offset,
            extra=self.base + np.minimum(first_seen, shared),
            extra_end=self.base + shared if sliding is not None else self.base,
            skip=np.maximum(first_seen - parts, 0).astype(np.int32),
        )


@dataclass(frozen=True, slots=True)
class ChunkLayout:
    """One sequence's prefill chunk: positions from ``start``, slot of position 0 at ``base``."""

    base: int
    start: int
