"""Tree attention on CPU, compiled: store the new rows, then finish every row on its own.

Each row is finished by the same instructions on its own keys in path order, so its bits cannot
depend on what else the step holds. bfloat16 travels as uint16; arithmetic is float32 (float64 for
float64 models). One thread, no allocation of the step's size, GIL released.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

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
                is_nan = (word & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
                row[i] = np.uint16(0x7FC0) if is_nan else np.uint16(rounded)

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

    def single(scores, count, top, whole):  # type: ignore[no-untyped-def]
        one, half = np.float32(1.0), np.float32(0.5)
        scale, low = np.float32(LOG2E), np.float32(-126.0)
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


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def store(keys, values, slots, tail, key_store, value_store):  # type: ignore[no-untyped-def]
    """Write each row's key and value [T, Hkv, D] into its slot of [Hkv, S, D]."""
    for row in range(len(slots)):
        if tail[row] > 0:
            for head in range(keys.shape[1]):
                key_store[head, slots[row]] = keys[row, head]
                value_store[head, slots[row]] = values[row, head]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def attend_rows(  # type: ignore[no-untyped-def]
    query, key_store, value_store, path, tail, skip, extra, extra_end, window, offset,
    prefix_out, prefix_lse, scale, out, real, word,
):  # fmt: skip
    """Finish every row: extra keys, tail keys in path order, and its prefix part by log-sum-exp.

    Args:
        query: [T, Hq, D] stored form; key_store, value_store: [Hkv, S, D] stored form.
        path, tail, skip, extra, extra_end, window, offset: see ``layout``.
        prefix_out, prefix_lse: [NW, Hkv, G * R, D] stored form and [NW, Hkv, G * R].
        scale: softmax scale. out: [T, Hq, D] stored form.
        real, word: empty arrays of the arithmetic type and of uint32, to fix types.
    """
    heads, dim = query.shape[1], query.shape[2]
    kv_heads = key_store.shape[0]
    group = heads // kv_heads
    rows = prefix_lse.shape[2] // group
    room = path.shape[1] + 1
    for row in range(len(tail)):
        room = max(room, tail[row] + extra_end[row] - extra[row] + 1)
    q = np.empty((group, dim), real.dtype)
    acc = np.empty((group, dim), real.dtype)
    scores = np.empty((group, room), real.dtype)
    key = np.empty(dim, real.dtype)
    whole = np.empty(room, np.int32)
    slot = np.empty(room, np.int64)
    q_bits, acc_bits, key_bits = q.view(word.dtype), acc.view(word.dtype), key.view(word.dtype)
    for row in range(len(tail)):
        if tail[row] == 0:
            out[row, :, :] = 0
            continue
        count = 0
        for place in range(extra[row], extra_end[row]):
            slot[count] = place
            count += 1
        for index in range(skip[row], tail[row]):
            slot[count] = path[row, index]
            count += 1
        for head in range(kv_heads):
            for g in range(group):
                widen(query[row, head * group + g], q[g], q_bits[g])
            for j in range(count):
                widen(key_store[head, slot[j]], key, key_bits)
                for g in range(group):
                    dot = real.dtype.type(0)
                    for i in range(dim):
                        dot += q[g, i] * key[i]
                    scores[g, j] = dot * scale
            for g in range(group):
                top = scores[g, 0]
                for j in range(1, count):
                    top = max(top, scores[g, j])
                weight = real.dtype.type(0)
                at = g * rows + offset[row]
                if window[row] >= 0:
                    lse = prefix_lse[window[row], head, at]
                    top = max(top, lse)
                    scores[g, count] = lse
                    exponentials(scores[g], count + 1, top, whole)
                    weight = scores[g, count]
                else:
                    exponentials(scores[g], count, top, whole)
                total = weight
                for j in range(count):
                    total += scores[g, j]
                if window[row] >= 0:
                    widen(prefix_out[window[row], head, at], acc[g], acc_bits[g])
                    for i in range(dim):
                        acc[g, i] *= weight
                else:
                    acc[g, :] = 0
                for j in range(count):
                    scores[g, j] /= total
                for i in range(dim):
                    acc[g, i] /= total
            for j in range(count):
                widen(value_store[head, slot[j]], key, key_bits)
                for g in range(group):
                    share = scores[g, j]
                    for i in range(dim):
                        acc[g, i] += share * key[i]
            for g in range(group):
                narrow(acc[g], acc_bits[g], out[row, head * group + g])


@njit(cache=True, nogil=True)
def move_rows(store, sources, targets):  # type: ignore[no-untyped-def]
    """Copy slots of [L, 2, Hkv, S, D] in order; each target precedes or equals its source."""
    for layer in range(store.shape[0]):
        for side in range(2):
            for head in range(store.shape[2]):
                for index in range(len(sources)):
                    if sources[index] != targets[index]:
                        store[layer, side, head, targets[index]] = store[
                            layer, side, head, sources[index]
                        ]
