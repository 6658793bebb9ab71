"""What a decoder layer does to rows between its matrix products, each as one compiled pass.

Every function works row by row, so a row's bits never depend on the others. bfloat16 travels as
uint16; arithmetic is float32 (float64 for float64 models) with one rounding at the end. ``real``
and ``word`` are empty arrays that fix the arithmetic type and its bits.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from mmspec_kernels.scalar import FAST, exponentials, narrow, widen


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def add_norm(residual, delta, weight, eps, out, real, word):  # type: ignore[no-untyped-def]
    """``residual += delta``, then root-mean-square norm of it into ``out``.

    Args:
        residual, delta, out: [T, H] stored form; residual is updated in place.
        weight: [H], arithmetic form. eps: added to the mean square.
    """
    width = residual.shape[1]
    total, extra = np.empty(width, real.dtype), np.empty(width, real.dtype)
    total_bits, extra_bits = total.view(word.dtype), extra.view(word.dtype)
    for row in range(len(residual)):
        widen(residual[row], total, total_bits)
        widen(delta[row], extra, extra_bits)
        for i in range(width):
            total[i] += extra[i]
        narrow(total, total_bits, residual[row])
        widen(residual[row], total, total_bits)  # the residual stream is what was stored
        square = total[0] * total[0]
        for i in range(1, width):
            square += total[i] * total[i]
        scale = total.dtype.type(1.0 / math.sqrt(square / width + eps))
        for i in range(width):
            total[i] = total[i] * scale * weight[i]
        narrow(total, total_bits, out[row])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gated(both, out, real, word):  # type: ignore[no-untyped-def]
    """``silu(gate) * up`` of rows ``[gate | up]``: [T, 2I] -> [T, I]."""
    width = out.shape[1]
    gate, up = np.empty(width, real.dtype), np.empty(width, real.dtype)
    fall, whole = np.empty(width, real.dtype), np.empty(width, np.int32)
    gate_bits, up_bits = gate.view(word.dtype), up.view(word.dtype)
    one = gate.dtype.type(1)
    for row in range(len(both)):
        widen(both[row, :width], gate, gate_bits)
        widen(both[row, width:], up, up_bits)
        for i in range(width):
            fall[i] = -abs(gate[i])
        exponentials(fall, width, one - one, whole)
        for i in range(width):
            share = fall[i] if gate[i] < 0 else one
            gate[i] = gate[i] * up[i] * share / (one + fall[i])
        narrow(gate, gate_bits, out[row])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def rotate_store(  # type: ignore[no-untyped-def]
    qkv, cos, sin, norms, eps, slots, key_store, value_store, query, real, word
):
    """Norm (where the model has it) and rotate queries and keys; store keys and values.

    Args:
        qkv: [T, (Hq + 2 Hkv) * D] stored form. cos, sin: [T, D] arithmetic form.
        norms: [2, D] query and key norm weights, arithmetic form; [0, D] for none.
        slots: see ``layout``. key_store, value_store: [Hkv, S, D] stored form.
        query: [Hkv, T, G, D] stored form, written.
    """
    kv_heads, _, group, dim = query.shape
    heads = kv_heads * group
    half = dim // 2
    x, y = np.empty(dim, real.dtype), np.empty(dim, real.dtype)
    x_bits, y_bits = x.view(word.dtype), y.view(word.dtype)
    for row in range(len(qkv)):
        for head in range(heads + kv_heads):
            widen(qkv[row, head * dim : (head + 1) * dim], x, x_bits)
            if len(norms) > 0:
                side = 0 if head < heads else 1
                square = x[0] * x[0]
                for i in range(1, dim):
                    square += x[i] * x[i]
                scale = x.dtype.type(1.0 / math.sqrt(square / dim + eps))
                for i in range(dim):
                    x[i] = x[i] * scale * norms[side, i]
            for i in range(half):
                y[i] = x[i] * cos[row, i] - x[i + half] * sin[row, i]
            for i in range(half):
                y[i + half] = x[i + half] * cos[row, i + half] + x[i] * sin[row, i + half]
            if head < heads:
                narrow(y, y_bits, query[head // group, row, head % group])
            else:
                narrow(y, y_bits, key_store[head - heads, slots[row]])
        for head in range(kv_heads):
            start = (heads + kv_heads + head) * dim
            value_store[head, slots[row]] = qkv[row, start : start + dim]
