"""Compiled parts of a draft step: rows of a growing tree, their angles, and their two norms.

Axes: T rows, B sequences, W widest tail, D head dimension.
"""

from __future__ import annotations

import math

import numpy as np
from mmspec_kernels.layout import GRAIN
from mmspec_kernels.scalar import FAST, narrow, widen
from numba import njit


@njit(cache=True, nogil=True)
def place(
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
def follow(
    counts: np.ndarray,
    reach: int,
    homes: np.ndarray,
    out: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Lay what each sequence committed after its filled slots, as chains.

    Args:
        counts: int64 [B], new rows of each sequence. reach, homes: as for :func:`place`; homes
            stay as they are.
        out: rows, path and tail, as for :func:`place`.
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


@njit(cache=True, nogil=True, error_model="numpy")
def turn(positions: np.ndarray, frequencies: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> None:
    """Cosines and sines [T, D] of positions int64 [T] at frequencies float32 [D / 2]."""
    half = len(frequencies)
    for row in range(len(positions)):
        for i in range(half):
            angle = np.float32(np.float32(positions[row]) * frequencies[i])
            cos[row, i] = cos[row, i + half] = math.cos(angle)
            sin[row, i] = sin[row, i + half] = math.sin(angle)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def join_norms(
    embeds: np.ndarray,
    states: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray],
    eps: float,
    out: np.ndarray,
    real: np.ndarray,
    word: np.ndarray,
) -> None:
    """Norm embeddings [T, E] and states [T, H], each by its weight, side by side: [T, E + H].

    Stored form, as in ``mmspec_kernels.rows``; ``real`` and ``word`` fix the arithmetic.
    """
    outer, hidden = embeds.shape[1], states.shape[1]
    value = np.empty(max(outer, hidden), real.dtype)
    bits = value.view(word.dtype)
    for row in range(len(embeds)):
        widen(embeds[row], value, bits)
        _normed(value, outer, weights[0], eps)
        narrow(value, bits, out[row, :outer])
        widen(states[row], value, bits)
        _normed(value, hidden, weights[1], eps)
        narrow(value, bits, out[row, outer:])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _normed(value: np.ndarray, width: int, weight: np.ndarray, eps: float) -> None:
    square = value[0] * value[0]
    for i in range(1, width):
        square += value[i] * value[i]
    scale = value.dtype.type(1.0 / math.sqrt(square / width + eps))
    for i in range(width):
        value[i] = value[i] * scale * weight[i]
