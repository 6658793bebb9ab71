"""Prefill in Triton: a chunk over everything before it and itself, each row up to its own place."""

from __future__ import annotations

import triton
import triton.language as tl

from mmspec_kernels.triton_shared import LOG2E, absorb, multiply, nothing


@triton.jit
def chunk(  # type: ignore[no-untyped-def]
    query, keys, values, out, scale, head_stride, past, count, sliding,
    kv_heads: tl.constexpr, group: tl.constexpr, dim: tl.constexpr, wide: tl.constexpr,
    tile: tl.constexpr, block: tl.constexpr, widened: tl.constexpr,
):  # fmt: skip
    """Grid (row blocks, Hkv).

    Args:
        query, out: [C, Hq, D]. keys, values: [Hkv, past + C, D], ``head_stride`` from one head
            to the next. scale: softmax scale.
        past: keys before the chunk. count: C. sliding: keys a row sees back, itself included.
        tile: rows of one program after folding a key head's query heads. block: keys at once.
        wide: D rounded up to a power of two. widened: see ``multiply``.
    """
    head = tl.program_id(1)
    folded = tl.program_id(0) * tile + tl.arange(0, tile)
    row = folded // group
    here = past + row
    d = tl.arange(0, wide)
    asked = ((row * kv_heads + head) * group + folded % group).to(tl.int64)[:, None] * dim
    there = (row < count)[:, None] & (d < dim)[None, :]
    q = tl.load(query + asked + d[None, :], mask=there, other=0.0)
    side = head.to(tl.int64) * head_stride
    top, total, acc = nothing(tile, wide)
    begin = past + tl.program_id(0) * tile // group - sliding + 1
    begin = tl.maximum(0, begin) // block * block
    end = tl.minimum(past + count, past + (tl.program_id(0) * tile + tile - 1) // group + 1)
    for at in range(begin, end, block):
        n = at + tl.arange(0, block)
        place = side + n.to(tl.int64)[:, None] * dim + d[None, :]
        inside = (n < end)[:, None] & (d < dim)[None, :]
        k = tl.load(keys + place, mask=inside, other=0.0)
        v = tl.load(values + place, mask=inside, other=0.0)
        scores = multiply(q, tl.trans(k), tl.zeros([tile, block], tl.float32), widened)
        seen = (n[None, :] <= here[:, None]) & (n[None, :] > here[:, None] - sliding)
        scores = tl.where(seen, scores * (scale * LOG2E), float("-inf"))
        top, total, acc = absorb(scores, v, top, total, acc, widened)
    # Rows past the chunk may have seen nothing; the others' largest share is 1.
    done = (acc / tl.maximum(total, 1.0)[:, None]).to(out.dtype.element_ty)
    tl.store(out + asked + d[None, :], done, mask=there)
