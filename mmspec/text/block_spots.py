"""Where the rows of a drafter stand that says k tokens a pass: blocks of k levels of a tree.

A pass of such a drafter reads k levels at once, and is asked only at the last of them: of the
others it leaves keys and values. A layout has the rows that are asked, which come first; the
other rows have no more than slots and positions.

Axes: F nodes of the level a pass is asked at, T rows of a pass, k tokens a pass, W window, j levels
since a block began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from mmspec_kernels.layout import GRAIN, ChunkLayout, TreeLayout
from numba import njit

from mmspec.text.spots import REACH, ROWS, Spots, room, shared, spots_of

if TYPE_CHECKING:
    from mmspec.text.spots import Home


class Block(NamedTuple):
    """Rows of one pass.

    Attributes:
        spots: of T rows, and the layout of the first F.
        owner: int64 [T], whose row it is. windows: int64 [T, W], tokens, latest first.
        source: int64 [T], which state each is read from, of the last pass's [rows * k].
    """

    spots: Spots
    owner: np.ndarray
    windows: np.ndarray
    source: np.ndarray


class BlockGrove:
    """Scratch slots of trees that grow together, k levels a pass; their roots are committed.

    Args:
        parallel: k.
    """

    def __init__(self, homes: list[Home], parallel: int) -> None:
        self._homes, self._parallel = np.array(homes, np.int64), parallel
        self._trail = np.zeros((0, 0), np.int32)

    def block(self, owner: np.ndarray, lines: np.ndarray, words: np.ndarray, depth: int) -> Block:
        """Rows of the nodes at ``depth``, a multiple of k, and of their ancestors in the block.

        Args:
            owner: int64 [F], ascending.
            lines: int64 [F, k + 1] and words: int64 [F, W + k], as :func:`descend` makes them.
        """
        count, parallel = len(owner), self._parallel
        most = count * parallel
        rows, path, tail = room(count)
        own = np.empty((count, depth), np.int32)
        out = np.empty((4, most), np.int64)
        windows = np.empty((most, words.shape[1] - parallel), np.int64)
        made = _lay(
            (owner, lines, words, self._trail), depth, parallel, REACH, self._homes,
            (rows, path, tail, own), (out, windows),
        )  # fmt: skip
        self._trail = own
        slots, absolute, whose, source = out[:, :made]
        spots = spots_of(count, rows, path, tail)
        alone = len(self._homes) == 1 and count <= ROWS
        reading = shared(spots.layout) if alone else None
        return Block(Spots(slots, absolute, spots.layout, reading), whose, windows[:made], source)


def layout_of(spots: Spots, asked: np.ndarray) -> TreeLayout:
    """A layout of the rows ``asked``, int64 [N], alone; of a chunk, one row."""
    count = len(asked)
    rows, path, tail = room(count)
    layout = spots.layout
    if isinstance(layout, TreeLayout):
        rows[:3, :count] = layout.slots[asked], layout.position[asked], layout.base[asked]
        path[:count], tail[:count] = layout.path[asked], layout.tail[asked]
    else:
        _end(layout, int(asked[0]), (rows, path, tail))
    made = spots_of(count, rows, path, tail).layout
    assert isinstance(made, TreeLayout)
    return made


def _end(layout: ChunkLayout, row: int, out: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """A chunk's row ``row`` as the only one of a layout of trees."""
    rows, path, tail = out
    local = layout.start + row
    first = max(0, (local - REACH) // GRAIN * GRAIN)
    rows[:3, 0] = layout.base + local, local, layout.base
    tail[0] = local + 1 - first
    path[0, : tail[0]] = np.arange(layout.base + first, layout.base + local + 1)


@njit(cache=True, nogil=True)
def descend(
    lines: np.ndarray, words: np.ndarray, parents: np.ndarray, tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Go one level down inside a block.

    Args:
        lines: int64 [F above, j + 1], of every node above: the row of the pass that began its
            block, then places in their levels of its ancestors since, its own last.
        words: int64 [F above, W + j], the tokens that end its path, latest first.
        parents, tokens: int64 [F], places in the level above, ascending; and what is said there.

    Returns:
        Lines [F, j + 2] and words [F, W + j + 1].
    """
    count, steps, said = len(parents), lines.shape[1], words.shape[1]
    own_lines = np.empty((count, steps + 1), np.int64)
    own_words = np.empty((count, said + 1), np.int64)
    for row in range(count):
        above = parents[row]
        own_lines[row, :steps], own_lines[row, steps] = lines[above], row
        own_words[row, 0], own_words[row, 1:] = tokens[row], words[above]
    return own_lines, own_words


@njit(cache=True, nogil=True)
def _lay(
    nodes: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    depth: int,
    parallel: int,
    reach: int,
    homes: np.ndarray,
    asked: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    out: tuple[np.ndarray, np.ndarray],
) -> int:
    """Lay the last k levels of every sequence's tree over the store.

    Lines ascend, so the nodes that share an ancestor follow one another.

    Args:
        nodes: owner, lines and words, as for ``BlockGrove.block``; trail int32 [rows, depth - k],
            the slots of the last pass's rows and of their ancestors.
        asked: rows int64 [4, F], path int32 [F, W], tail int32 [F], and own trail [F, depth], as
            ``spots._place`` fills them.
        out: (slots, absolute positions, owners, sources) int64 [4, T] and windows int64 [T, W].

    Returns:
        T.
    """
    owner, lines, words, trail = nodes
    rows, path, tail, own = asked
    told, windows = out
    before, made, width = depth - parallel, len(owner), windows.shape[1]
    for row in range(len(owner)):
        home = homes[owner[row]]
        base, filled = home[0], home[1]
        for step in range(before):
            own[row, step] = trail[lines[row, 0], step]
        for step in range(1, parallel + 1):
            at = before + step - 1
            if step < parallel and row > 0 and lines[row, step] == lines[row - 1, step]:
                own[row, at] = own[row - 1, at]
                continue
            place = row
            if step < parallel:
                place = made
                made += 1
            own[row, at] = base + filled + home[3]
            home[3] += 1
            told[0, place], told[1, place] = own[row, at], home[2] + filled + at
            told[2, place], told[3, place] = owner[row], lines[row, 0] * parallel + step - 1
            for back in range(width):
                windows[place, back] = words[row, parallel - step + back]
        position = filled + depth - 1
        rows[0, row], rows[1, row], rows[2, row] = own[row, depth - 1], position, base
        rows[3, row] = home[2] + position
        start = max(0, (position - reach) // GRAIN * GRAIN)
        for index in range(start, filled):
            path[row, index - start] = base + index
        for step in range(depth):
            path[row, filled - start + step] = own[row, step]
        tail[row] = filled - start + depth
    return made
