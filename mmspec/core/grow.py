"""Best-first growth of trees from any batched scorer, level by level (EAGLE-2, arXiv:2406.16858).

Axes: B sequences, F frontier nodes of all sequences together, k children of a node. A node is
expanded only while it is among the ``budget`` best of its tree: scores never rise downwards, so a
node outside them can never come back, and neither can anything below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from mmspec.core.noise import gumbel_at
from mmspec.core.tree import TokenTree

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Budget
    from mmspec.core.sequence import Sequence


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
) -> list[TokenTree]:
    """Grow one tree a sequence.

    Args:
        roots: int64 [B], last decided tokens.
        budgets: B limits on nodes (root included) and depth.
        expand: guesses children of every node of a level: tokens int64 [F, k], different within a
            row, and their log-probabilities given the node, float32 [F, k]; -inf is no child.
        width: most nodes of one sequence expanded at one depth.
        stops: ids that end a text; they are guessed but nothing below them is.
    """
    count = len(roots)
    room, deepest = np.array(budgets, np.int64).reshape(count, 2).T
    owner, tokens = np.arange(count), np.asarray(roots, np.int64)
    parents, scores = np.full(count, -1), np.zeros(count, np.float32)
    alive, barren = np.ones(count, np.bool_), np.array(sorted(stops), np.int64)
    frontier, depth = np.flatnonzero((room > 1) & (deepest > 0)), 0
    above = np.full(len(frontier), -1)
    while len(frontier):
        guessed, chances = expand(Level(owner[frontier], tokens[frontier], above, depth))
        path = scores[frontier, None] + np.minimum(chances, 0.0).astype(np.float32)
        rows, columns = np.nonzero(np.isfinite(path))
        first, depth = len(owner), depth + 1
        owner = np.append(owner, owner[frontier[rows]])
        tokens = np.append(tokens, guessed[rows, columns])
        parents = np.append(parents, frontier[rows])
        scores = np.append(scores, path[rows, columns])
        alive = _rank(owner, scores) < np.maximum(room, 1)[owner]
        fertile = alive[first:] & (depth < deepest[owner[first:]])
        fertile &= ~np.isin(tokens[first:], barren)
        chosen = np.flatnonzero(fertile)
        chosen = chosen[_rank(owner[first + chosen], scores[first + chosen]) < width]
        frontier, above = first + chosen, rows[chosen]
        # Rows of a level are grouped by sequence because their parents' rows are.
    kept = [np.flatnonzero(alive & (owner == index)) for index in range(count)]
    return [_tree(nodes, tokens, parents, scores) for nodes in kept]


def children(
    logits: torch.Tensor,
    level: Level,
    sequences: ListOf[Sequence],
    k: int,
    reach: int = 256,
    tau: float = 0.5,
    ids: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` most promising children of every node, for :func:`grow`.

    For a greedy request they are the drafter's most likely tokens. For a sampled one the target
    will draw argmax of log p + G, so they are ranked by log q + G with the very same noise, and
    a child's chance is the softmax of that over ``tau``.

    Args:
        logits: [F, V], the drafter's.
        level: the nodes they belong to.
        sequences: all B sequences.
        k: children of a node.
        reach: how many of the drafter's most likely tokens compete once noise is added.
        tau: how far the drafter's logits stray from the target's (their noise's scale).
        ids: int64 [V], the target token id of every column; None: the column itself.

    Returns:
        tokens int64 [F, k] and log-probabilities float32 [F, k], best first.
    """
    warmth = np.array([sequence.request.sampling.temperature for sequence in sequences])
    warmth = warmth[level.owner].astype(np.float32)
    sampled = np.flatnonzero(warmth > 0)
    scale = torch.from_numpy(np.where(warmth > 0, warmth, 1.0).astype(np.float32))
    scaled = logits.float() / scale.to(logits.device)[:, None]
    wide = min(max(reach, k) if len(sampled) else k, logits.shape[1])
    best = torch.log_softmax(scaled, -1).topk(wide)
    scores, tokens = best.values.cpu().numpy(), best.indices.cpu().numpy()
    tokens = tokens if ids is None else ids[tokens]
    for row in sampled:
        sequence = sequences[level.owner[row]]
        position = len(sequence) + level.depth
        noise = gumbel_at(sequence.seed, sequence.choice, position, tokens[row])
        heat = (scores[row] + noise) / np.float32(tau)
        heat -= heat.max()
        scores[row] = heat - np.log(np.exp(heat).sum())
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(tokens, order, 1), np.take_along_axis(scores, order, 1)


def _rank(owner: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Place of every node within its sequence, best first; older nodes first among equals."""
    order = np.lexsort((-scores, owner))
    begin = np.searchsorted(owner[order], owner[order])
    rank = np.empty(len(owner), np.int64)
    rank[order] = np.arange(len(owner)) - begin
    return rank


def _tree(
    kept: np.ndarray, tokens: np.ndarray, parents: np.ndarray, scores: np.ndarray
) -> TokenTree:
    """The nodes ``kept`` of a pool, ascending, parents among them, as a tree of their own."""
    local = np.searchsorted(kept, parents[kept]).astype(np.int32)
    local[0] = -1
    return TokenTree(tokens[kept], local, scores[kept], np.zeros(len(kept), np.uint8))
