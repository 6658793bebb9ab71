"""Queries over one picture's rows in one compiled pass: norms, scores, shares, what heads say.

Axes: L tokens, X = E + H, Q queries of h heads of D, J = h Q folded queries, heads first.
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
    values: np.ndarray,
    out: np.ndarray,
) -> None:
    """What each head says of the rows [outer | inner], [L, X], to each query.

    Args:
        outer, inner: [L, E] and [L, H] in stored form; of width 0 where a stream is not read.
        normed: whether each is brought to root mean square 1.
        queries: [J, X], in arithmetic form, whose bits are ``word``'s.
        values: [h, D, X] in stored form. out: [Q, h D], in arithmetic form.
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
    sums = _sums(scores, rows)
    value = np.empty(width, queries.dtype)
    value_bits = value.view(word.dtype)
    heads, dim, each = values.shape[0], values.shape[1], len(out)
    for head in range(heads):
        for place in range(dim):
            widen(values[head, place], value, value_bits)
            for query in range(each):
                total = sums[head * each + query, 0] * value[0]
                for i in range(1, width):
                    total += sums[head * each + query, i] * value[i]
                out[query, head * dim + place] = total


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _sums(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows [L, X] summed by the shares that scores [J, L] give them, [J, X]."""
    sums = np.zeros((len(scores), rows.shape[1]), rows.dtype)
    for query in range(len(scores)):
        most = scores[query].max()
        shares = np.exp(scores[query] - most)
        shares /= shares.sum()
        for row in range(len(rows)):
            for i in range(rows.shape[1]):
                sums[query, i] += shares[row] * rows[row, i]
    return sums


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
