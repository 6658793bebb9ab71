"""Fuse: one tree out of several drafters' guesses, under one budget.

After RASD (arXiv 2503.03434): what a corpus says and what a model says become one trie, in which
every path stands once, cut to the best nodes. Four ways of saying which are best:

- ``union``: every path has the best score any drafter gave it, as it was given.
- ``calibrated``: every edge has the chance that edges of its kind have had (``calibration``), so
  that drafters who overrate themselves take no rows from others; a path, the product.
- ``rasd``: guesses that quote stand only below first tokens that the model guesses too, and are
  scored by the model's chance of those; then a union. (The paper's text leaves the rule open.)
- ``switch``: the guesses that quote alone where they promise enough, else the model's alone.

Axes: N nodes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numba import njit

from mmspec.core.calibration import chance, place
from mmspec.core.tree import TokenTree

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.calibration import Calibration
    from mmspec.core.drafter import Budget

Arm = Literal["union", "calibrated", "rasd", "switch"]
NO_CELLS = np.zeros((1, 2), np.float32)
NO_CELLS.flags.writeable = False


class Fusion(NamedTuple):
    """How to fuse.

    Attributes:
        arm: see above. switch: tokens promised by what quotes for which ``switch`` takes it alone.
        models: bit i says that source i runs a model.
    """

    arm: Arm = "union"
    switch: float = 2.5
    models: int = 0


class Fused(NamedTuple):
    """The tree, and int32 [N] the cell of every node, where they were calibrated."""

    tree: TokenTree
    cells: np.ndarray | None = None


UNION = Fusion()


def promised(trees: ListOf[TokenTree]) -> float:
    """Drafted tokens that the most promising of some trees expects to be kept."""
    return max((float(np.exp(tree.scores[1:]).sum()) for tree in trees), default=0.0)


def expected(
    trees: ListOf[TokenTree], budget: Budget, how: Fusion = UNION,
    calibration: Calibration | None = None,
) -> float:  # fmt: skip
    """Drafted tokens that some trees can be expected to have kept: as calibrated, or as claimed."""
    if how.arm == "calibrated" and calibration is not None and trees:
        return promised([fuse(trees, budget, how, calibration).tree])
    return promised(trees)


def fuse(
    trees: ListOf[TokenTree], budget: Budget, how: Fusion = UNION,
    calibration: Calibration | None = None,
) -> Fused:  # fmt: skip
    """The best ``budget.nodes`` nodes of the trees, at most ``budget.depth`` edges deep.

    Each node names the source that gave its best score (the first, when equal). The root always
    stays.

    Args:
        trees: one source a tree. calibration: for that arm; what it says is not changed.

    Raises:
        ValueError: no tree, or trees with different roots.
    """
    if not trees or len({tree.tokens.item(0) for tree in trees}) > 1:
        raise ValueError("trees that are fused share their root")
    trees = [tree for tree in trees if len(tree) > 1] or trees[:1]
    if how.arm == "switch":
        trees = _switched(trees, how)
    elif how.arm == "rasd":
        trees = _led(trees, how)
    calibrated = how.arm == "calibrated" and calibration is not None
    if len(trees) == 1 and not calibrated:
        return Fused(trees[0].truncate(budget.depth).prune(budget.nodes))
    cells = calibration.cells if calibrated and calibration is not None else NO_CELLS
    *fused, placed = _fuse(
        np.concatenate([tree.tokens for tree in trees]),
        np.concatenate([tree.parents for tree in trees]),
        np.concatenate([tree.scores for tree in trees]),
        np.concatenate([tree.source for tree in trees]),
        cells,
        max(budget.nodes, 1),
        budget.depth,
    )
    return Fused(TokenTree(*fused), placed if calibrated else None)


def _split(trees: ListOf[TokenTree], models: int) -> tuple[list[TokenTree], list[TokenTree]]:
    """Those that quote, and those that models guessed."""
    said = [bool(models >> int(tree.source[-1]) & 1) for tree in trees]
    return (
        [tree for tree, model in zip(trees, said, strict=True) if not model],
        [tree for tree, model in zip(trees, said, strict=True) if model],
    )


def _switched(trees: ListOf[TokenTree], how: Fusion) -> ListOf[TokenTree]:
    quoted, guessed = _split(trees, how.models)
    if not guessed or promised(quoted) >= how.switch:
        return quoted or trees
    return guessed


def _led(trees: ListOf[TokenTree], how: Fusion) -> ListOf[TokenTree]:
    """The models' trees, and of the others what begins as one of theirs does."""
    quoted, guessed = _split(trees, how.models)
    if not quoted or not guessed:
        return trees
    firsts: dict[int, float] = {}
    for tree in guessed:
        for node in np.flatnonzero(tree.parents == 0):
            token, score = int(tree.tokens[node]), float(tree.scores[node])
            firsts[token] = max(score, firsts.get(token, -np.inf))
    tokens = np.array(list(firsts), np.int64)
    scores = np.array(list(firsts.values()), np.float32)
    led = [_below(tree, tokens, scores) for tree in quoted]
    return [*guessed, *(tree for tree in led if len(tree) > 1)]


def _below(tree: TokenTree, tokens: np.ndarray, scores: np.ndarray) -> TokenTree:
    """A tree's branches that begin with one of ``tokens``, scored as if that had ``scores``."""
    banned, shift = np.zeros(len(tree), np.bool_), np.zeros(len(tree), np.float32)
    for node in range(1, len(tree)):
        above = int(tree.parents[node])
        if above > 0:
            shift[node] = shift[above]
            continue
        found = np.flatnonzero(tokens == tree.tokens[node])
        banned[node] = not len(found)
        shift[node] = scores[found[0]] - tree.scores[node] if len(found) else 0.0
    moved = np.minimum(tree.scores + shift, np.float32(0.0))
    return replace(tree, scores=moved).without(banned)


@njit(cache=True, nogil=True)
def _union(
    tokens: np.ndarray, parents: np.ndarray, scores: np.ndarray, source: np.ndarray, claimed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Of every node the first with its path, and above that; of those whose score, claim, and who.

    Claims and who makes them are told if ``claimed``. A root, whose parent is -1, begins a tree.
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
            claims[found], whose[found] = max(claims[found], claim), whose[found] | 1 << source[node]
        same[node] = found
    return above, best, claims, whose


@njit(cache=True, nogil=True)
def _least(ranked: np.ndarray, most: int) -> np.ndarray:
    """Which are the ``most`` least, of equals the first: bool [M]. Nothing is sorted."""
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
def _fuse(  # compiled: an array an argument
    tokens: np.ndarray,
    parents: np.ndarray,
    scores: np.ndarray,
    source: np.ndarray,
    cells: np.ndarray,
    nodes: int,
    depth: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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
    chosen, size = _least(ranked[:count], nodes), min(count, nodes)
    out_tokens, out_parents = np.empty(size, np.int64), np.full(size, -1, np.int32)
    out_scores, out_source = np.empty(size, np.float32), np.empty(size, np.uint8)
    out_cells, where, index = np.empty(size, np.int32), np.zeros(room, np.int32), 0
    for entry in range(count):
        if not chosen[entry]:
            continue
        node = kept[entry]
        where[node], out_tokens[index] = index, tokens[node]
        if index > 0:
            out_parents[index] = where[above[node]]
        out_scores[index], out_source[index] = value[node], source[best[node]]
        out_cells[index] = cell[node]
        index += 1
    return out_tokens, out_parents, out_scores, out_source, out_cells
