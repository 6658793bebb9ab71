"""Compiled parts of a draft step that asks the target's keys: turned queries.

Axes: T rows, G query heads of one key head, C width of the target's keys.
"""

from __future__ import annotations

import numpy as np
from mmspec_kernels.scalar import FAST, narrow, widen
from numba import njit


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def turn_queries(
    asked: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    out: np.ndarray,
    real: np.ndarray,
    word: np.ndarray,
) -> None:
    """Turn queries [T, heads C] by angles [T, C], and lay them by key head: [kv heads, T, G, C].

    Stored form, as in ``mmspec_kernels.rows``; ``real`` and ``word`` fix the arithmetic.
    """
    kv_heads, _, group, dim = out.shape
    half = dim // 2
    x, y = np.empty(dim, real.dtype), np.empty(dim, real.dtype)
    x_bits, y_bits = x.view(word.dtype), y.view(word.dtype)
    for row in range(len(asked)):
        for head in range(kv_heads * group):
            widen(asked[row, head * dim : (head + 1) * dim], x, x_bits)
            for i in range(half):
                y[i] = x[i] * cos[row, i] - x[i + half] * sin[row, i]
                y[i + half] = x[i + half] * cos[row, i + half] + x[i] * sin[row, i + half]
            narrow(y, y_bits, out[head // group, row, head % group])
