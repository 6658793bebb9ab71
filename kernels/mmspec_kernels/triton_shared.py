"""What the Triton kernels share: a growing softmax, where a prefix is cut, the row table's columns.

Powers are of two inside a kernel (scores come scaled by log2(e)); log-sum-exps that leave one are
natural. Nothing is summed by atomics and every loop runs in the order of the keys.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
# Instead of minus infinity, whose difference with itself is not a number.
LOWEST = tl.constexpr(-1e30)

# Columns of the row table, all int32; see ``layout.TreeLayout`` and ``layout.Reading``.
SLOT = tl.constexpr(0)
TAIL = tl.constexpr(1)
WINDOW = tl.constexpr(2)
OFFSET = tl.constexpr(3)
EXTRA = tl.constexpr(4)
EXTRA_END = tl.constexpr(5)
SKIP = tl.constexpr(6)
COLUMNS = tl.constexpr(8)  # one row is one aligned read


@triton.jit
def multiply(left, right, total, widened: tl.constexpr):  # type: ignore[no-untyped-def]
    """``total + left @ right`` in float32; float32 sides as three TF32 products, near its digits.

    Triton's interpreter multiplies the bits of bfloat16 as if they were integers, so there
    ``widened`` brings both sides to float32 first. The products are the same.
    """
    if widened:
        left = left.to(tl.float32)
        right = right.to(tl.float32)
    return tl.dot(left, right, total, input_precision="tf32x3")


@triton.jit
def nothing(rows: tl.constexpr, wide: tl.constexpr):  # type: ignore[no-untyped-def]
    """A running softmax that has seen no key: largest score, sum of shares, weighted sum."""
    top = tl.full([rows], LOWEST, tl.float32)
    return top, tl.zeros([rows], tl.float32), tl.zeros([rows, wide], tl.float32)


@triton.jit
def absorb(scores, values, top, total, acc, widened: tl.constexpr):  # type: ignore[no-untyped-def]
    """One more block of keys into a running softmax.

    Args:
        scores: [M, N] in powers of two, minus infinity where a row does not see a key.
        values: [N, D]. top, total: [M], largest score so far (``LOWEST`` at first) and the sum of
            shares relative to it. acc: [M, D], shares times values.
        widened: see ``multiply``.
    """
    higher = tl.maximum(top, tl.max(scores, 1))
    shares = tl.exp2(scores - higher[:, None])
    kept = tl.exp2(top - higher)
    acc = multiply(shares.to(values.dtype), values, acc * kept[:, None], widened)
    return higher, total * kept + tl.sum(shares, 1), acc


@triton.jit
def portion(length, parts: tl.constexpr, least: tl.constexpr):  # type: ignore[no-untyped-def]
    """Keys in each part of a prefix of ``length`` keys; a multiple of ``least``.

    There are at most ``parts`` parts. A function of the length alone, which is one of the row's
    position: company in the batch never moves a cut.
    """
    return tl.maximum(1, tl.cdiv(length, parts * least)) * least
