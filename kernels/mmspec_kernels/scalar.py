"""Compiled building blocks: between stored and arithmetic form, and exponentials.

Stored form is the model's dtype, bfloat16 as uint16; arithmetic form is float32 or float64.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

# Sums may be reordered into vector lanes: the order is fixed at compile time, not by the data.
FAST = {"reassoc", "contract", "nsz"}
LOG2E = 1.4426950408889634
# Minimax-like coefficients of 2**f on [-0.5, 0.5]: ln(2)**k / k!, enough for float32.
C1, C2, C3 = 0.6931471805599453, 0.2402265069591007, 0.05550410866482158
C4, C5, C6 = 0.009618129107628477, 0.0013333558146428443, 0.00015403530393381608


def widen(row, out, bits):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy a stored row into arithmetic form; ``bits`` is ``out`` seen as uint32."""


@overload(widen, inline="always")
def _widen(row, out, bits):  # type: ignore[no-untyped-def]
    if row.dtype == types.uint16:

        def half(row, out, bits):  # type: ignore[no-untyped-def]
            for i in range(len(row)):
                bits[i] = np.uint32(row[i]) << np.uint32(16)

        return half

    def full(row, out, bits):  # type: ignore[no-untyped-def]
        for i in range(len(row)):
            out[i] = row[i]

    return full


def narrow(value, bits, row):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Round an arithmetic row to storage form (nearest, ties to even)."""


@overload(narrow, inline="always")
def _narrow(value, bits, row):  # type: ignore[no-untyped-def]
    if row.dtype == types.uint16:

        def half(value, bits, row):  # type: ignore[no-untyped-def]
            for i in range(len(row)):
                word = bits[i]
                odd = (word >> np.uint32(16)) & np.uint32(1)
                rounded = (word + np.uint32(0x7FFF) + odd) >> np.uint32(16)
                # A NaN must not carry over into infinity: keep its quiet bit instead.
                nan = np.uint32((word & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000))
                row[i] = np.uint16(rounded * (np.uint32(1) - nan) + np.uint32(0x7FC0) * nan)

        return half

    def full(value, bits, row):  # type: ignore[no-untyped-def]
        for i in range(len(row)):
            row[i] = value[i]

    return full


def exponentials(scores, count, top, whole):  # type: ignore[no-untyped-def]  # pragma: no cover
    """``scores[i] = exp(scores[i] - top)`` for the first ``count``; ``whole`` is int32 scratch."""


@overload(exponentials, inline="always")
def _exponentials(scores, count, top, whole):  # type: ignore[no-untyped-def]
    if scores.dtype == types.float64:

        def wide(scores, count, top, whole):  # type: ignore[no-untyped-def]
            for i in range(count):
                scores[i] = math.exp(scores[i] - top)

        return wide

    # 2**-64 of the largest weight is nothing beside float32's 2**-24, and keeps products with
    # small values out of the subnormal range, where arithmetic is a hundred times slower.
    def single(scores, count, top, whole):  # type: ignore[no-untyped-def]
        one, half = np.float32(1.0), np.float32(0.5)
        scale, low = np.float32(LOG2E), np.float32(-64.0)
        c1, c2, c3 = np.float32(C1), np.float32(C2), np.float32(C3)
        c4, c5, c6 = np.float32(C4), np.float32(C5), np.float32(C6)
        power = whole.view(np.float32)
        for i in range(count):
            x = (scores[i] - top) * scale
            x = max(x, low)
            n = np.floor(x + half)
            f = x - n
            whole[i] = (np.int32(n) + np.int32(127)) << np.int32(23)
            poly = one + f * (c1 + f * (c2 + f * (c3 + f * (c4 + f * (c5 + f * c6)))))
            scores[i] = poly * power[i]

    return single
