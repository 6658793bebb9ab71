"""Where a drafter's rows stand in its store: chunks, committed chains, and growing trees.

The slots after a sequence's committed ones are scratch: a tree's rows live there while it grows
and are written over by the next one.

Axes: B sequences, T rows, G groups of R rows, W widest tail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from mmspec_kernels.layout import GRAIN, ChunkLayout, Reading, TreeLayout, Window, tail_width
from numba import njit

if TYPE_CHECKING:
    import torch

REACH = 16  # the deepest tree
ROWS = 8  # rows a linear layer sees at once, unless they are a prefill chunk


class Home(NamedTuple):
    """One sequence's part of the store.

    Attributes:
        base: slot of local position 0.
        filled: slots with committed tokens.
        start: absolute position of local position 0.
        lent: scratch slots in use by a growing tree.
    """

    base: int
    filled: int
    start: int = 0
    lent: int = 0


class Spots(NamedTuple):
    """Where rows stand: int64 [T] slots and absolute positions, and what they read.

    ``reading`` is the tree layout's own, where it has been worked out already.
    """

    slots: np.ndarray
    positions: np.ndarray
    layout: TreeLayout | ChunkLayout
    reading: Reading | None = None


def chunk_spots(home: Home, count: int) -> Spots:
    """The next ``count`` committed slots of one sequence, in one causal pass."""
    local = np.arange(home.filled, home.filled + count)
    layout = ChunkLayout(base=home.base, start=home.filled)
    return Spots(local + home.base, local + home.start, layout)


def chain_spots(homes: list[Home], counts: np.ndarray) -> Spots:
    """The next committed slots of many sequences, ``counts`` int64 [B] of each."""
    rows, path, tail = room(int(counts.sum()))
    _follow(counts, REACH, np.array(homes, np.int64), (rows, path, tail))
    return spots_of(int(counts.sum()), rows, path, tail)


class Grove:
    """Scratch slots of trees that grow together, level by level; their roots are committed."""

    def __init__(self, homes: list[Home]) -> None:
        self._homes = np.array(homes, np.int64)
        self._trail = np.zeros((0, 0), np.int32)

    def level(self, owner: np.ndarray, parents: np.ndarray, depth: int) -> Spots:
        """Rows int64 [T] of the nodes at ``depth``, whose parents stand in the level before."""
        count = len(owner)
        rows, path, tail = room(count)
        own = np.empty((count, depth), np.int32)
        _place(owner, parents, self._trail, depth, REACH, self._homes, (rows, path, tail, own))
        self._trail = own
        spots = spots_of(count, rows, path, tail)
        alone = len(self._homes) == 1 and count <= ROWS
        return spots._replace(reading=shared(spots.layout)) if alone else spots


def grouped(x: torch.Tensor) -> torch.Tensor:
    """Rows [T, K] padded to [G, R, K], so that a row's bits never depend on how many there are."""
    groups = -(-len(x) // ROWS)
    if groups * ROWS == len(x):
        return x.view(groups, ROWS, -1)
    padded = x.new_zeros(groups * ROWS, x.shape[1])
    padded[: len(x)] = x
    return padded.view(groups, ROWS, -1)


def shared(layout: TreeLayout | ChunkLayout) -> Reading:
    """One group of rows at one depth of one tree: they all read the same block."""
    assert isinstance(layout, TreeLayout)
    base, end = int(layout.base[0]), int(layout.path[0, 0])
    window = np.where(layout.tail > 0, 0 if end > base else -1, -1).astype(np.int32)
    return Reading(
        windows=(Window(0, base, end),) if end > base else (),
        window=window,
        offset=np.arange(len(window), dtype=np.int32),
        extra=layout.base,
        extra_end=layout.base,
        skip=np.zeros(len(window), np.int32),
    )


def room(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, paths and tails for ``count`` rows in groups, as :func:`_place` fills them."""
    total = -(-count // ROWS) * ROWS
    path = np.zeros((total, tail_width(REACH)), np.int32)
    return np.zeros((4, total), np.int64), path, np.zeros(total, np.int32)


def spots_of(count: int, rows: np.ndarray, path: np.ndarray, tail: np.ndarray) -> Spots:
    """Where ``count`` rows stand, as :func:`room` had room for them."""
    slots, local, base, absolute = rows
    layout = TreeLayout(
        slots=slots, path=path, tail=tail, position=local, base=base, rows=ROWS, reach=REACH,
        count=count,
    )  # fmt: skip
    return Spots(slots[:count], absolute[:count], layout)


@njit(cache=True, nogil=True)
def _place(
    owner: np.ndarray,
    parents: np.ndarray,
    trail: np.ndarray,
    depth: int,
    reach: int,
    homes: np.ndarray,
    out: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Lay one level of every sequence's tree over the store.

    Args:
        owner: int64 [T], whose row it is. parents: int64 [T], row of the parent one level up.
        trail: int32 [T above, depth - 1], the parents' own slots and their ancestors'.
        depth: edges from the root, at least 1. reach: the deepest tree allowed.
        homes: int64 [B, 4], slot of local position 0, true slots filled, absolute position of
            local position 0, scratch slots in use; the last is advanced.
        out: rows (slots, local positions, bases, absolute positions) int64 [4, T], path int32
            [T, W], tail int32 [T], and the rows' own trail int32 [T, depth].
    """
    rows, path, tail, own = out
    for row in range(len(owner)):
        home = homes[owner[row]]
        base, filled = home[0], home[1]
        slot = base + filled + home[3]
        home[3] += 1
        position = filled + depth - 1
        rows[0, row], rows[1, row], rows[2, row] = slot, position, base
        rows[3, row] = home[2] + position
        for step in range(depth - 1):
            own[row, step] = trail[parents[row], step]
        own[row, depth - 1] = slot
        start = max(0, (position - reach) // GRAIN * GRAIN)
        for index in range(start, filled):
            path[row, index - start] = base + index
        for step in range(depth):
            path[row, filled - start + step] = own[row, step]
        tail[row] = filled - start + depth


@njit(cache=True, nogil=True)
def _follow(
    counts: np.ndarray,
    reach: int,
    homes: np.ndarray,
    out: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Lay what each sequence committed after its filled slots, as chains.

    Args:
        counts: int64 [B], new rows of each sequence. reach, homes: as for :func:`_place`; homes
            stay as they are.
        out: rows, path and tail, as for :func:`_place`.
    """
    rows, path, tail = out
    row = 0
    for index in range(len(counts)):
        base, filled = homes[index, 0], homes[index, 1]
        for position in range(filled, filled + counts[index]):
            rows[0, row], rows[1, row], rows[2, row] = base + position, position, base
            rows[3, row] = homes[index, 2] + position
            start = max(0, (position - reach) // GRAIN * GRAIN)
            for place in range(start, position + 1):
                path[row, place - start] = base + place
            tail[row] = position + 1 - start
            row += 1
