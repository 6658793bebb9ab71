"""Tree attention on CPU, compiled: store the new rows, then finish every row on its own.

Each row is finished by the same instructions on its own keys in path order, so its bits cannot
depend on what else the step holds. bfloat16 travels as uint16; arithmetic is float32 (float64 for
float64 models). One thread, no allocation of the step's size, GIL released.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mmspec_kernels.scalar import FAST, exponentials, narrow, widen


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def store(keys, values, slots, tail, key_store, value_store):  # type: ignore[no-untyped-def]
    """Write each row's key and value [T, Hkv, D] into its slot of [Hkv, S, D]."""
    for row in range(len(slots)):
        if tail[row] > 0:
            for head in range(keys.shape[1]):
                key_store[head, slots[row]] = keys[row, head]
                value_store[head, slots[row]] = values[row, head]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _score(query, keys, place, count, scale, scores):  # type: ignore[no-untyped-def]
    """Scaled dot products of one query with the keys at ``place``, four keys at a time."""
    zero = query.dtype.type(0)
    for j in range(0, count - 3, 4):
        a, b, c, d = zero, zero, zero, zero
        p, q, r, s = place[j], place[j + 1], place[j + 2], place[j + 3]
        for i in range(len(query)):
            a += query[i] * keys[p, i]
            b += query[i] * keys[q, i]
            c += query[i] * keys[r, i]
            d += query[i] * keys[s, i]
        scores[j], scores[j + 1] = a * scale, b * scale
        scores[j + 2], scores[j + 3] = c * scale, d * scale
    for j in range(count // 4 * 4, count):
        a = zero
        for i in range(len(query)):
            a += query[i] * keys[place[j], i]
        scores[j] = a * scale


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _weigh(shares, values, place, count, out):  # type: ignore[no-untyped-def]
    """``out += sum_j shares[j] * values[place[j]]``, four values at a time."""
    for j in range(0, count - 3, 4):
        a, b, c, d = shares[j], shares[j + 1], shares[j + 2], shares[j + 3]
        p, q, r, s = place[j], place[j + 1], place[j + 2], place[j + 3]
        for i in range(len(out)):
            out[i] += (a * values[p, i] + b * values[q, i]) + (c * values[r, i] + d * values[s, i])
    for j in range(count // 4 * 4, count):
        for i in range(len(out)):
            out[i] += shares[j] * values[place[j], i]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _join(scores, count, prefixed, lse, whole, out):  # type: ignore[no-untyped-def]
    """Scores to shares of the whole softmax; ``out`` scaled to the prefix's share of it."""
    top = scores[0]
    for j in range(1, count):
        top = max(top, scores[j])
    terms = count
    if prefixed:
        scores[count] = lse
        top = max(top, lse)
        terms += 1
    exponentials(scores, terms, top, whole)
    total = scores[0]
    for j in range(1, terms):
        total += scores[j]
    for j in range(terms):
        scores[j] /= total
    if prefixed:
        for i in range(len(out)):
            out[i] *= scores[count]


@njit(cache=True, nogil=True)
def _widen_slots(store, first, last, out, bits, place):  # type: ignore[no-untyped-def]
    """Slots ``[first, last)`` of one head's [S, D] in arithmetic form, from row ``place`` on."""
    for slot in range(first, last):
        widen(store[slot], out[place + slot - first], bits[place + slot - first])


@njit(cache=True, nogil=True)
def _spans(path, tail, extra, extra_end):  # type: ignore[no-untyped-def]
    """Room for the slots that rows of one sequence read together, and for a row's extra keys."""
    reach, more = 0, 0
    for row in range(len(tail)):
        if tail[row] > 0:
            reach = max(reach, path[row, tail[row] - 1] + 1 - path[row, 0])
            more = max(more, extra_end[row] - extra[row])
    return 2 * reach + path.shape[1], more  # rows of one sequence start at most one grain apart


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def attend_rows(  # type: ignore[no-untyped-def]
    query, key_store, value_store, path, tail, skip, extra, extra_end, window, offset,
    prefix_out, prefix_lse, scale, out, real, word,
):  # fmt: skip
    """Finish every row: extra keys, tail keys in path order, and its prefix part by log-sum-exp.

    Rows of one sequence read overlapping runs of slots, which are brought to arithmetic form once
    a head: what is held runs from ``first`` to ``last``. Extra keys come after it.

    Args:
        query: [Hkv, T, G, D] stored form; key_store, value_store: [Hkv, S, D] stored form.
        path, tail, skip, extra, extra_end, window, offset: see ``layout``.
        prefix_out, prefix_lse: [NW, Hkv, R * G, D] stored form and [NW, Hkv, R * G].
        scale: softmax scale. out: [T, Hq, D] stored form.
        real, word: empty arrays of the arithmetic type and of its bits, to fix types.
    """
    kv_heads, _, group, dim = query.shape
    held, more = _spans(path, tail, extra, extra_end)
    keys = np.empty((held + more, dim), real.dtype)
    values = np.empty_like(keys)
    key_bits, value_bits = keys.view(word.dtype), values.view(word.dtype)
    q, acc = np.empty(dim, real.dtype), np.empty(dim, real.dtype)
    q_bits, acc_bits = q.view(word.dtype), acc.view(word.dtype)
    place = np.empty(path.shape[1] + more + 1, np.int64)
    scores, whole = np.empty(len(place), real.dtype), np.empty(len(place), np.int32)
    for head in range(kv_heads):
        first, last = 0, 0
        for row in range(len(tail)):
            if tail[row] == 0:
                out[row, head * group : (head + 1) * group] = 0
                continue
            begin, end = path[row, 0], path[row, tail[row] - 1] + 1
            if begin < first or begin >= last or end - first > held:
                first, last = begin, begin
            if end > last:
                _widen_slots(key_store[head], last, end, keys, key_bits, last - first)
                _widen_slots(value_store[head], last, end, values, value_bits, last - first)
                last = end
            count = extra_end[row] - extra[row]
            if count > 0:
                _widen_slots(key_store[head], extra[row], extra_end[row], keys, key_bits, held)
                _widen_slots(
                    value_store[head], extra[row], extra_end[row], values, value_bits, held
                )
            place[:count] = np.arange(held, held + count)
            mine = path[row, skip[row] : tail[row]]
            place[count : count + len(mine)] = mine - first
            count += len(mine)
            for g in range(group):
                widen(query[head, row, g], q, q_bits)
                _score(q, keys, place, count, scale, scores)
                acc[:] = 0
                lse = scores[0]
                if window[row] >= 0:
                    at = offset[row] * group + g
                    lse = prefix_lse[window[row], head, at]
                    widen(prefix_out[window[row], head, at], acc, acc_bits)
                _join(scores, count, window[row] >= 0, lse, whole, acc)
                _weigh(scores, values, place, count, acc)
                narrow(acc, acc_bits, out[row, head * group + g])


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
