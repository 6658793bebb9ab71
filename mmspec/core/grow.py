"""Best-first growth of trees from any batched scorer, level by level (EAGLE-2, arXiv:2406.16858).

Axes: B sequences, F frontier nodes of all sequences together, k children of a node. A node is
expanded only while it is among the ``budget`` best of its tree: scores never rise downwards, so a
node outside them can never come back, and neither can anything below it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from mmspec.core.tree import TokenTree

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Budget


class Level(NamedTuple):
    """Nodes to score now, all at one depth, grouped by sequence.

    Attributes:
        owner: int64 [F], which sequence a node belongs to; ascending.
        tokens: int64 [F].
        parents: int64 [F], row of the parent in the level before; -1 at the roots.
        depth: edges from the root.
    """

    owner: np.ndarray
    tokens: np.ndarray
    parents: np.ndarray
    depth: int


def grow(
    roots: np.ndarray,
    budgets: ListOf[Budget],
    expand: Callable[[Level], tuple[np.ndarray, np.ndarray]],
    width: int = 8,
    stops: frozenset[int] = frozenset(),
    least: float = 0.0,
) -> list[TokenTree]:
    """Grow one tree a sequence.

    Args:
        roots: int64 [B], last decided tokens.
        budgets: B limits on nodes (root included) and depth.
        expand: guesses children of every node of a level: tokens int64 [F, k], different within a
            row, and their log-probabilities given the node, float32 [F, k]; -inf is no child.
        width: most nodes of one sequence expanded at one depth.
        stops: ids that end a text; they are guessed but nothing below them is.
        least: chance of a node, its ancestors' in it, below which it is not expanded: a level
            costs time whatever comes of it.
    """
    count = len(roots)
    limits = np.array(budgets, np.int64).reshape(count, 2)
    barren = np.array(sorted(stops), np.int64)
    worth = (width, np.float32(math.log(least)) if least > 0 else np.float32(-np.inf))
    begun = np.flatnonzero((limits[:, 0] > 1) & (limits[:, 1] > 0))
    level = Level(begun, np.asarray(roots, np.int64)[begun], np.full(len(begun), -1), 0)
    pool, nodes = None, np.zeros(len(begun), np.int64)
    while len(level.owner):
        guessed, chances = expand(level)
        if pool is None:
            pool = _pool(roots, limits, width, guessed.shape[1])
        room = np.empty((3, count * width), np.int64)
        made = _advance(
            pool, (level.owner, nodes), (guessed, chances), limits, barren, level.depth + 1,
            worth, room,
        )  # fmt: skip
        owner, nodes, above = room[:, :made]
        level = Level(owner, pool.tokens[owner, nodes], above, level.depth + 1)
    if pool is None:
        return [TokenTree.root(int(root)) for root in roots]
    return [_tree(pool, index, int(limits[index, 0])) for index in range(count)]


class Pool(NamedTuple):
    """All nodes guessed so far, a row a sequence: [B, room]; ``size`` int64 [B] of them."""

    tokens: np.ndarray
    parents: np.ndarray
    scores: np.ndarray
    size: np.ndarray


def _pool(roots: np.ndarray, limits: np.ndarray, width: int, k: int) -> Pool:
    count, levels = len(roots), max(int(limits[:, 1].max()), 1)
    shape = (count, 1 + k + (levels - 1) * width * k)
    tokens, parents = np.empty(shape, np.int64), np.full(shape, -1, np.int32)
    tokens[:, 0] = roots
    return Pool(tokens, parents, np.zeros(shape, np.float32), np.ones(count, np.int64))


@njit(cache=True, nogil=True)
def _advance(
    pool: Pool,
    frontier: tuple[np.ndarray, np.ndarray],
    children: tuple[np.ndarray, np.ndarray],
    limits: np.ndarray,
    barren: np.ndarray,
    depth: int,
    worth: tuple[int, float],
    out: np.ndarray,
) -> int:
    """Add a level's children to the pool and choose whom to expand next.

    Args:
        frontier: int64 [F] owners, ascending, and places in their owner's row of the pool.
        children: tokens and log-chances, [F, k] each. limits: int64 [B, 2], nodes and depth.
        depth: of the children. worth: most nodes of a sequence to expand, and their least score.
        out: int64 [3, B width], filled with owners, places and the parents' rows in the level.

    Returns:
        How many were chosen.
    """
    (owners, nodes), (guessed, chances) = frontier, children
    width, least = worth
    made, row = 0, 0
    while row < len(owners):
        owner, begin = owners[row], row
        first = pool.size[owner]
        while row < len(owners) and owners[row] == owner:
            _append(pool, owner, nodes[row], guessed[row], chances[row])
            row += 1
        if depth >= limits[owner, 1]:
            continue
        room = (limits[owner, 0], least)
        taken = _best(pool, owner, first, room, barren, out[1, made : made + width])
        above = begin
        for place in range(made, made + taken):
            while nodes[above] != pool.parents[owner, out[1, place]]:
                above += 1
            out[0, place], out[2, place] = owner, above
        made += taken
    return made


@njit(cache=True, nogil=True)
def _append(pool: Pool, owner: int, node: int, tokens: np.ndarray, chances: np.ndarray) -> None:
    """Put a node's children, those that have a chance, behind all others of its owner."""
    after = pool.size[owner]
    for column in range(len(tokens)):
        score = pool.scores[owner, node] + min(chances[column], np.float32(0.0))
        if np.isfinite(score):
            pool.tokens[owner, after] = tokens[column]
            pool.parents[owner, after] = node
            pool.scores[owner, after] = score
            after += 1
    pool.size[owner] = after


@njit(cache=True, nogil=True)
def _best(
    pool: Pool,
    owner: int,
    first: int,
    room: tuple[int, float],
    barren: np.ndarray,
    out: np.ndarray,
) -> int:
    """Places from ``first`` on to be expanded, ascending in ``out``; returns how many.

    They are among the owner's best, so many and with such a score as ``room`` says. Of equals the
    older is better, so that a parent is never after its child.
    """
    best = np.argsort(-pool.scores[owner, : pool.size[owner]], kind="mergesort")
    taken = 0
    for place in best[: room[0]]:
        fertile = place >= first and taken < len(out) and pool.scores[owner, place] >= room[1]
        for stop in barren:
            fertile = fertile and pool.tokens[owner, place] != stop
        if fertile:
            out[taken] = place
            taken += 1
    out[:taken] = np.sort(out[:taken])
    return taken


def _tree(pool: Pool, index: int, room: int) -> TokenTree:
    """The best ``room`` nodes of one sequence, in order, as a tree."""
    size = int(pool.size[index])
    scores = pool.scores[index, :size]
    kept = np.sort(np.argsort(-scores, kind="stable")[: max(room, 1)])
    local = np.searchsorted(kept, pool.parents[index, kept]).astype(np.int32)
    local[0] = -1
    return TokenTree(pool.tokens[index, kept], local, scores[kept], np.zeros(len(kept), np.uint8))
