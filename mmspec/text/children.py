"""Children of a level's nodes, compiled: ``core.grow.children`` with every id competing.

Axes: F nodes, V ids the head scores, k children.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mmspec_kernels.scalar import FAST, exponentials
from numba import njit

from mmspec.core.noise import gumbel_of, key, uniform_bits

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.grow import Level
    from mmspec.core.sequence import Sequence

TAU = 0.5  # how far the drafter's logits stray from the target's: their noise's scale


def likely_children(
    logits: np.ndarray, level: Level, sequences: ListOf[Sequence], k: int, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` most promising children of every node, best first.

    Args:
        logits: float32 [F, V], the drafter's; written over. -inf is never said.
        level: the nodes. sequences: all of them. ids: int64 [V], the target id of every column.

    Returns:
        tokens int64 [F, k] and log-probabilities float32 [F, k].
    """
    count = min(k, logits.shape[1])
    warmth = np.zeros(len(level.owner), np.float32)
    states = np.zeros(len(level.owner), np.uint64)
    for row, owner in enumerate(level.owner.tolist()):
        sequence = sequences[owner]
        warmth[row] = sequence.request.sampling.temperature
        if warmth[row] > 0:
            states[row] = key(sequence.seed, sequence.choice, len(sequence) + level.depth)
    tokens = np.empty((len(logits), count), np.int64)
    chances = np.empty((len(logits), count), np.float32)
    _choose(logits, warmth, states, ids, tokens, chances)
    return tokens, chances


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _choose(
    logits: np.ndarray,
    warmth: np.ndarray,
    states: np.ndarray,
    ids: np.ndarray,
    tokens: np.ndarray,
    chances: np.ndarray,
) -> None:
    """Rank log q, or for a warm row the softmax of (log q + noise) / tau."""
    size, count = logits.shape[1], tokens.shape[1]
    weights, whole = np.empty(size, np.float32), np.empty(size, np.int32)
    for row in range(len(logits)):
        scores = logits[row]
        if warmth[row] > 0:
            for i in range(size):
                noise = gumbel_of(uniform_bits(states[row], ids[i]))
                scores[i] = (scores[i] / warmth[row] + noise) / np.float32(TAU)
        for place in range(count):
            chances[row, place] = -np.inf
            tokens[row, place] = -1 - place
        least = np.float32(-np.inf)
        for i in range(size):
            if scores[i] > least:
                place = count - 1
                while place > 0 and scores[i] > chances[row, place - 1]:
                    chances[row, place] = chances[row, place - 1]
                    tokens[row, place] = tokens[row, place - 1]
                    place -= 1
                chances[row, place], tokens[row, place] = scores[i], ids[i]
                least = chances[row, count - 1]
        top = chances[row, 0]
        weights[:] = scores
        exponentials(weights, size, top, whole)
        total = np.float32(0.0)
        for i in range(size):
            total += weights[i]
        for place in range(count):
            chances[row, place] = chances[row, place] - top - np.log(total)
