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
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from mmspec.core.tree import TokenTree
from mmspec.core.trie import fuse_groups, fuse_one, room

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.calibration import Calibration
    from mmspec.core.drafter import Budget
    from mmspec.core.tree import Arrays
    from mmspec.core.trie import Placed

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
    trees, cells = _admitted(trees, how), _cells(how, calibration)
    if len(trees) == 1 and cells is NO_CELLS:
        return Fused(trees[0].truncate(budget.depth).prune(budget.nodes))
    joined = _joined(trees)
    packed = room(min(max(budget.nodes, 1), len(joined[0])))
    size = fuse_one(joined, cells, budget.nodes, budget.depth, packed, 0)
    return _unpacked(packed, 0, size, calibrated=cells is not NO_CELLS)


def fuse_all(
    groups: ListOf[ListOf[TokenTree]], budgets: ListOf[Budget], how: Fusion = UNION,
    calibration: Calibration | None = None,
) -> list[Fused]:  # fmt: skip
    """What ``fuse`` makes of each group of trees, in one compiled call for all."""
    if len(groups) < 2:
        return [fuse(trees, budgets[0], how, calibration) for trees in groups]
    chosen, cells = [_admitted(trees, how) for trees in groups], _cells(how, calibration)
    sizes = [sum(map(len, trees)) for trees in chosen]
    shapes = np.empty((len(groups), 3), np.int64)
    shapes[:, 0], shapes[:, 1:] = sizes, budgets
    joined = _joined([tree for trees in chosen for tree in trees])
    packed = room(len(joined[0]))
    ends = fuse_groups(joined, cells, shapes, packed).tolist()
    calibrated = cells is not NO_CELLS
    return [
        _unpacked(packed, first, end, calibrated=calibrated) for first, end in pairwise([0, *ends])
    ]


def _unpacked(packed: Placed, first: int, end: int, *, calibrated: bool) -> Fused:
    tokens, parents, scores, source, cells = packed
    tree = TokenTree(tokens[first:end], parents[first:end], scores[first:end], source[first:end])
    return Fused(tree, cells[first:end] if calibrated else None)


def _joined(trees: ListOf[TokenTree]) -> Arrays:
    """The arrays of all trees, one tree after another."""
    return (
        np.concatenate([tree.tokens for tree in trees]),
        np.concatenate([tree.parents for tree in trees]),
        np.concatenate([tree.scores for tree in trees]),
        np.concatenate([tree.source for tree in trees]),
    )


def _cells(how: Fusion, calibration: Calibration | None) -> np.ndarray:
    if how.arm == "calibrated" and calibration is not None:
        return calibration.cells
    return NO_CELLS


def _admitted(trees: ListOf[TokenTree], how: Fusion) -> ListOf[TokenTree]:
    """Those of one group that are fused."""
    if not trees or len({tree.tokens.item(0) for tree in trees}) > 1:
        raise ValueError("trees that are fused share their root")
    trees = [tree for tree in trees if len(tree) > 1] or trees[:1]
    if how.arm == "switch":
        return _switched(trees, how)
    return _led(trees, how) if how.arm == "rasd" else trees


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
