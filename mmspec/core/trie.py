"""The trie of several trees, cut to its best nodes: the compiled part of ``fuse``.

Nothing is sorted. Trees stand packed, one after another; a root, whose parent is -1, begins one.
Axes: N nodes of all trees, C cells, G groups of trees that are fused together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from mmspec.core.calibration import chance, place

if TYPE_CHECKING:
    from mmspec.core.tree import Arrays

# A tree's arrays, and the cell of every node.
Placed = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@njit(cache=True, nogil=True)
def _union(
    tokens: np.ndarray, parents: np.ndarray, scores: np.ndarray, source: np.ndarray, claimed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of every node the first with its path, and above that; of those whose score, claim, and who.

    Claims and who makes them are told if ``claimed``.
    """
    room = len(tokens)
    same, above = np.zeros(room, np.int32), np.full(room, -1, np.int32)
    best, whose = np.arange(room).astype(np.int32), np.zeros(room, np.int64)
    child, sibling = np.full(room, -1, np.int32), np.full(room, -1, np.int32)
    claims, start = np.zeros(room if claimed else 1), 0
    for node in range(1, room):
        if parents[node] < 0:
            start = node
            continue
        over = same[start + parents[node]]
        found = child[over]
        while found >= 0 and tokens[found] != tokens[node]:
            found = sibling[found]
        if found < 0:
            found = node
            sibling[node], child[over] = child[over], node
            above[node] = over
        elif scores[node] > scores[best[found]]:
            best[found] = node
        if claimed:
            claim = np.exp(scores[node] - scores[start + parents[node]])
            claims[found], whose[found] = (
                max(claims[found], claim),
                whose[found] | 1 << source[node],
            )
        same[node] = found
    return above, best, claims, whose


@njit(cache=True, nogil=True)
def _least(ranked: np.ndarray, most: int) -> np.ndarray:
    """Which are the ``most`` least, of equals the first: bool [M]."""
    if len(ranked) <= most:
        return np.ones(len(ranked), np.bool_)
    bar = np.partition(ranked, most - 1)[most - 1]
    chosen = ranked < bar
    left = most - chosen.sum()
    for entry in range(len(ranked)):
        if left > 0 and ranked[entry] == bar:
            chosen[entry] = True
            left -= 1
    return chosen


@njit(cache=True, nogil=True)
def fuse_one(
    trees: Arrays, cells: np.ndarray, nodes: int, depth: int, out: Placed, first: int
) -> int:
    """Fuse one group.

    Args:
        trees: as in :func:`fuse_groups`. cells: float32 [C, 2], a calibration's; a single row:
            none.
        nodes: most that stay, the root always. depth: most edges below the root.
        out: filled from ``first`` on.

    Returns:
        How many nodes there are.
    """
    tokens, parents, scores, source = trees
    out_tokens, out_parents, out_scores, out_source, out_cells = out
    claimed = len(cells) > 1
    above, best, claims, whose = _union(tokens, parents, scores, source, claimed)
    # Nodes of the union within the depth, in order, so that parents still precede children.
    room = len(tokens)
    kept, depths = np.zeros(room, np.int32), np.zeros(room, np.int32)
    value, cell = np.zeros(room, np.float32), np.zeros(room, np.int32)
    ranked, count = np.empty(room), 1
    ranked[0] = -np.inf
    for node in range(1, room):
        over = above[node]
        if over < 0:  # a root, or known already
            continue
        depths[node] = depths[over] + 1
        if depths[node] > depth:
            continue
        value[node] = scores[best[node]]
        if claimed:
            cell[node] = place(whose[node], depths[node], claims[node])
            value[node] = value[over] + np.log(chance(cells, cell[node], claims[node]))
        kept[count], ranked[count] = node, -value[node]
        count += 1
    # Of equals a parent stands before its child, so any number of the best is closed.
    chosen, index = _least(ranked[:count], max(nodes, 1)), 0
    where = np.zeros(room, np.int32)
    for entry in range(count):
        if chosen[entry]:
            node, row = kept[entry], first + index
            where[node], out_tokens[row] = index, tokens[node]
            out_parents[row] = where[above[node]] if index > 0 else -1
            out_scores[row], out_source[row] = value[node], source[best[node]]
            out_cells[row] = cell[node]
            index += 1
    return index


@njit(cache=True, nogil=True)
def fuse_groups(trees: Arrays, cells: np.ndarray, shapes: np.ndarray, out: Placed) -> np.ndarray:
    """Fuse groups of trees, packed one after another.

    Args:
        trees: tokens int64 [N], parents int32 [N], scores float32 [N], source uint8 [N].
        cells: see :func:`fuse_one`.
        shapes: int64 [G, 3], of each group its nodes, the most that stay, most edges below a root.
        out: filled with the trees, packed, and their nodes' cells.

    Returns:
        Where each ends, int64 [G].
    """
    tokens, parents, scores, source = trees
    ends, start, count = np.empty(len(shapes), np.int64), 0, 0
    for group in range(len(shapes)):
        end = start + shapes[group, 0]
        some = tokens[start:end], parents[start:end], scores[start:end], source[start:end]
        count += fuse_one(some, cells, shapes[group, 1], shapes[group, 2], out, count)
        ends[group], start = count, end
    return ends


def room(nodes: int) -> Placed:
    """Arrays for so many nodes: given to compiled code, they cost less than returned by it."""
    return (
        np.empty(nodes, np.int64), np.empty(nodes, np.int32), np.empty(nodes, np.float32),
        np.empty(nodes, np.uint8), np.empty(nodes, np.int32),
    )  # fmt: skip
