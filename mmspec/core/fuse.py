"""Fuse: one tree out of several drafters' guesses, under one budget.

A union as a trie in which every path stands once, with the best score any drafter gave it, cut to
the best nodes. Scores are log-probabilities of acceptance, so they compare across drafters as well
as the drafters know themselves. After RASD (arXiv 2503.03434), pruned by score alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from mmspec.core.tree import TokenTree

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Budget


def fuse(trees: ListOf[TokenTree], budget: Budget) -> TokenTree:
    """The best ``budget.nodes`` nodes of the union, at most ``budget.depth`` edges deep.

    Each node keeps its best score and the source that gave it (the first, when equal). The root
    always stays.

    Raises:
        ValueError: no tree, or trees with different roots.
    """
    if not trees or any(tree.tokens[0] != trees[0].tokens[0] for tree in trees):
        raise ValueError("trees that are fused share their root")
    trees = [tree for tree in trees if len(tree) > 1] or trees[:1]
    if len(trees) == 1:
        return trees[0].truncate(budget.depth).prune(budget.nodes)
    ends = np.cumsum(np.array([len(tree) for tree in trees]))
    fused = _fuse(
        np.concatenate([tree.tokens for tree in trees]),
        np.concatenate([tree.parents for tree in trees]),
        np.concatenate([tree.scores for tree in trees]),
        np.concatenate([tree.source for tree in trees]),
        ends,
        max(budget.nodes, 1),
        budget.depth,
    )
    return TokenTree(*fused)


@njit(cache=True, nogil=True)
def _union(
    tokens: np.ndarray, parents: np.ndarray, scores: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For every node the first node with the same path, and whose score that one should take."""
    room = len(tokens)
    same, best = np.zeros(room, np.int32), np.arange(room).astype(np.int32)
    child, sibling = np.full(room, -1, np.int32), np.full(room, -1, np.int32)
    start = 0
    for end in ends:
        for node in range(start + 1, end):
            above = same[start + parents[node]]
            found = child[above]
            while found >= 0 and tokens[found] != tokens[node]:
                found = sibling[found]
            if found < 0:
                found = node
                sibling[node] = child[above]
                child[above] = node
            elif scores[node] > scores[best[found]]:
                best[found] = node
            same[node] = found
        start = end
    return same, best


@njit(cache=True, nogil=True)
def _fuse(
    tokens: np.ndarray,
    parents: np.ndarray,
    scores: np.ndarray,
    source: np.ndarray,
    ends: np.ndarray,
    nodes: int,
    depth: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    same, best = _union(tokens, parents, scores, ends)
    # Nodes of the union within the depth, in order, so that parents still precede children.
    kept, place = np.empty(len(tokens), np.int32), np.zeros(len(tokens), np.int32)
    depths, above = np.zeros(len(tokens), np.int32), np.full(len(tokens), -1, np.int32)
    ranked = np.empty(len(tokens), np.float64)
    kept[0], ranked[0], count, start = 0, -np.inf, 1, 0
    for end in ends:
        for node in range(start + 1, end):
            over = same[start + parents[node]]
            if same[node] == node and depths[over] < depth:
                depths[node], above[node] = depths[over] + 1, over
                ranked[count] = -scores[best[node]]
                kept[count] = node
                count += 1
            elif same[node] == node:
                depths[node] = depth
        start = end
    # A stable sort puts a parent before a child of equal score, so any leading part is closed.
    chosen = np.sort(np.argsort(ranked[:count], kind="mergesort")[:nodes])
    out_tokens, out_parents = np.empty(len(chosen), np.int64), np.empty(len(chosen), np.int32)
    out_scores, out_source = np.empty(len(chosen), np.float32), np.empty(len(chosen), np.uint8)
    for index, entry in enumerate(chosen):
        node = kept[entry]
        place[node] = index
        out_tokens[index] = tokens[node]
        out_parents[index] = place[above[node]] if index > 0 else -1
        out_scores[index], out_source[index] = scores[best[node]], source[best[node]]
    return out_tokens, out_parents, out_scores, out_source
