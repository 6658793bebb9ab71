"""Compiled parts of a draft step: the rows' angles, their two norms, and what tokens add.

Axes: T rows, W window, D head dimension.
"""

from __future__ import annotations

import math

import numpy as np
from mmspec_kernels.scalar import FAST, narrow, widen
from numba import njit


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
    """Norm embeddings [T, W, E] and states [T, H], each by its weight: [T, W E + H].

    Stored form, as in ``mmspec_kernels.rows``; ``real`` and ``word`` fix the arithmetic.
    """
    window, outer, hidden = embeds.shape[1], embeds.shape[2], states.shape[1]
    value = np.empty(max(outer, hidden), real.dtype)
    bits = value.view(word.dtype)
    for row in range(len(embeds)):
        for place in range(window):
            widen(embeds[row, place], value, bits)
            _normed(value, outer, weights[0], eps)
            narrow(value, bits, out[row, place * outer : (place + 1) * outer])
        widen(states[row], value, bits)
        _normed(value, hidden, weights[1], eps)
        narrow(value, bits, out[row, window * outer :])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def add_said(
    rows: np.ndarray, table: np.ndarray, tokens: np.ndarray, real: np.ndarray, word: np.ndarray
) -> None:
    """Add to rows [T, Q] what the table [W, V, Q] has for their windows, int64 [T, W].

    Stored form; ids beyond the table read as its last one, -1 adds nothing. One rounding at the
    end.
    """
    width, last = rows.shape[1], table.shape[1] - 1
    total, extra = np.empty(width, real.dtype), np.empty(width, real.dtype)
    total_bits, extra_bits = total.view(word.dtype), extra.view(word.dtype)
    for row in range(len(rows)):
        widen(rows[row], total, total_bits)
        for place in range(tokens.shape[1]):
            if tokens[row, place] < 0:
                continue
            widen(table[place, min(tokens[row, place], last)], extra, extra_bits)
            for i in range(width):
                total[i] += extra[i]
        narrow(total, total_bits, rows[row])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _normed(value: np.ndarray, width: int, weight: np.ndarray, eps: float) -> None:
    square = value[0] * value[0]
    for i in range(1, width):
        square += value[i] * value[i]
    scale = value.dtype.type(1.0 / math.sqrt(square / width + eps))
    for i in range(width):
        value[i] = value[i] * scale * weight[i]
