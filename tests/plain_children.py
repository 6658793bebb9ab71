"""The children of a level's nodes, chosen plainly: what the compiled choice is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mmspec.core.noise import gumbel_at

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.grow import Level
    from mmspec.core.sequence import Sequence


def children(
    logits: torch.Tensor,
    level: Level,
    sequences: ListOf[Sequence],
    k: int,
    reach: int = 256,
    tau: float = 0.5,
    heard: float = 1.0,
    ids: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` most promising children of every node, for :func:`grow`.

    For a greedy request they are the drafter's most likely tokens. For a sampled one the target
    will draw argmax of log p + G, so they are ranked by log q + w G with the very same noise, and
    a child's chance is the softmax of that over w ``tau`` + 1 - w.

    Args:
        logits: [F, V], the drafter's.
        level: the nodes they belong to.
        sequences: all B sequences.
        k: children of a node.
        reach: how many of the drafter's most likely tokens compete once noise is added.
        tau: how far the drafter's logits stray from the target's (their noise's scale).
        heard: w.
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
        heat = (scores[row] + noise * np.float32(heard)) / np.float32(heard * tau + 1 - heard)
        heat -= heat.max()
        scores[row] = heat - np.log(np.exp(heat).sum())
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(tokens, order, 1), np.take_along_axis(scores, order, 1)
