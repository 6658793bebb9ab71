"""Queries over one picture's rows in one compiled pass: norms, scores, shares, weighted sums.

Axes: L tokens, X = E + H, J folded queries.
"""

from __future__ import annotations

import math

import numpy as np
from mmspec_kernels.scalar import FAST, widen
from numba import njit


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def look(
    outer: np.ndarray,
    inner: np.ndarray,
    normed: tuple[bool, bool],
    eps: float,
    queries: np.ndarray,
    word: np.ndarray,
    out: np.ndarray,
) -> None:
    """Sums of the rows [outer | inner], [L, X], by each query's shares of them.

    Args:
        outer, inner: [L, E] and [L, H] in stored form; of width 0 where a stream is not read.
        normed: whether each is brought to root mean square 1.
        queries: [J, X], in arithmetic form, whose bits are ``word``'s. out: [J, X].
    """
    count, split, width = len(outer), outer.shape[1], queries.shape[1]
    rows = np.empty((count, width), queries.dtype)
    bits = rows.view(word.dtype)
    scores = np.empty((len(queries), count), queries.dtype)
    for row in range(count):
        widen(outer[row], rows[row, :split], bits[row, :split])
        widen(inner[row], rows[row, split:], bits[row, split:])
        if normed[0]:
            _even(rows[row, :split], eps)
        if normed[1]:
            _even(rows[row, split:], eps)
        for query in range(len(queries)):
            total = rows[row, 0] * queries[query, 0]
            for i in range(1, width):
                total += rows[row, i] * queries[query, i]
            scores[query, row] = total
    out[:] = 0
    for query in range(len(queries)):
        most = scores[query].max()
        shares = np.exp(scores[query] - most)
        shares /= shares.sum()
        for row in range(count):
            for i in range(width):
                out[query, i] += shares[row] * rows[row, i]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _even(value: np.ndarray, eps: float) -> None:
    if len(value) == 0:
        return
    square = value[0] * value[0]
    for i in range(1, len(value)):
        square += value[i] * value[i]
    scale = value.dtype.type(1.0 / math.sqrt(square / len(value) + eps))
    for i in range(len(value)):
        value[i] *= scale
