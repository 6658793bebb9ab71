"""The rest of tree attention in Triton: a row's own path, and its prefix part by log-sum-exp.

One program finishes one row for one key head: it gathers the keys of the row's path in order (and
before them those that only this row sees at a sliding edge), then adds the parts of the prefix,
first to last. So a row's bits depend on its position, its path and nothing else in the step.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmspec_kernels.triton_shared import (
    COLUMNS,
    EXTRA,
    EXTRA_END,
    LOG2E,
    OFFSET,
    SKIP,
    TAIL,
    WINDOW,
    absorb,
    multiply,
    nothing,
    portion,
)


@triton.jit
def _gathered(  # type: ignore[no-untyped-def]
    q, key_store, value_store, slot, real, scale, top, total, acc,
    dim: tl.constexpr, wide: tl.constexpr, widened: tl.constexpr,
):  # fmt: skip
    """Keys at ``slot`` [N] of one head, where ``real``, into the running softmax of [M] rows."""
    d = tl.arange(0, wide)
    place = slot.to(tl.int64)[:, None] * dim + d[None, :]
    seen = real[:, None] & (d < dim)[None, :]
    k = tl.load(key_store + place, mask=seen, other=0.0)
    v = tl.load(value_store + place, mask=seen, other=0.0)
    scores = multiply(q, tl.trans(k), tl.zeros([q.shape[0], slot.shape[0]], tl.float32), widened)
    scores = tl.where(real[None, :], scores * (scale * LOG2E), float("-inf"))
    return absorb(scores, v, top, total, acc, widened)


@triton.jit
def _joined(  # type: ignore[no-untyped-def]
    outs, lses, first, early, used, top, total, acc,
    group: tl.constexpr, dim: tl.constexpr, wide: tl.constexpr, reach: tl.constexpr,
    step: tl.constexpr,
):  # fmt: skip
    """``step`` parts of the prefix from ``early`` on, of ``used``, into the running softmax.

    ``first`` is where the row's own output and log-sum-exp lie in part 0.
    """
    g = tl.arange(0, acc.shape[0])
    d = tl.arange(0, wide)
    part = early + tl.arange(0, step)
    place = first + part[:, None] * reach + g[None, :]
    read = (part < used)[:, None] & (g < group)[None, :]
    lse = tl.load(lses + place, mask=read, other=float("-inf")) * LOG2E
    old = tl.load(
        outs + place[:, :, None] * dim + d[None, None, :],
        mask=read[:, :, None] & (d < dim)[None, None, :],
        other=0.0,
    )
    higher = tl.maximum(top, tl.max(lse, 0))
    kept = tl.exp2(top - higher)
    shares = tl.exp2(lse - higher[None, :])
    acc = acc * kept[:, None] + tl.sum(shares[:, :, None] * old, 0)
    return higher, total * kept + tl.sum(shares, 0), acc


@triton.jit
def finish(  # type: ignore[no-untyped-def]
    query, key_store, value_store, windows, rows, path, outs, lses, out, scale, slots,
    kv_heads: tl.constexpr, group: tl.constexpr, dim: tl.constexpr, wide: tl.constexpr,
    reach: tl.constexpr, tile: tl.constexpr, block: tl.constexpr, parts: tl.constexpr,
    least: tl.constexpr, most: tl.constexpr, extras: tl.constexpr, step: tl.constexpr,
    widened: tl.constexpr,
):  # fmt: skip
    """Grid (T, Hkv).

    Args:
        query, out: [T, Hq, D]; padding rows of ``out`` are set to 0.
        path: int32 [T, most], see ``layout``. windows, rows, outs, lses, slots, reach, parts,
            least, wide, widened: see ``prefix``.
        tile: query heads of a key head, padded to what a product needs.
        extras: most keys a row reads before its tail; 0 on layers that see everything.
        block: keys read at once. step: parts of the prefix read at once.
    """
    row = tl.program_id(0)
    head = tl.program_id(1)
    mine = rows + row * COLUMNS
    tail = tl.load(mine + TAIL)
    g = tl.arange(0, tile)
    d = tl.arange(0, wide)
    there = (g < group)[:, None] & (d < dim)[None, :]
    asked = ((row * kv_heads + head) * group + g[:, None]) * dim + d[None, :]
    if tail == 0:
        tl.store(out + asked, tl.zeros([tile, wide], out.dtype.element_ty), mask=there)
        return
    q = tl.load(query + asked, mask=there, other=0.0)
    side = head.to(tl.int64) * slots * dim
    top, total, acc = nothing(tile, wide)
    n = tl.arange(0, block)
    extra = tl.load(mine + EXTRA)
    extra_end = tl.load(mine + EXTRA_END)
    for at in range(0, extras, block):
        slot = extra + at + n
        top, total, acc = _gathered(
            q, key_store + side, value_store + side, slot, slot < extra_end, scale,
            top, total, acc, dim, wide, widened,
        )  # fmt: skip
    skip = tl.load(mine + SKIP)
    for at in range(0, most, block):
        real = (at + n >= skip) & (at + n < tail)
        slot = tl.load(path + row * most + at + n, mask=real, other=0)
        top, total, acc = _gathered(
            q, key_store + side, value_store + side, slot, real, scale,
            top, total, acc, dim, wide, widened,
        )  # fmt: skip
    window = tl.load(mine + WINDOW)
    if window >= 0:
        start = tl.load(windows + window * 3 + 1)
        length = tl.load(windows + window * 3 + 2) - start
        used = tl.cdiv(length, portion(length, parts, least))
        first = ((window * kv_heads + head) * parts).to(tl.int64) * reach
        first += tl.load(mine + OFFSET) * group
        for early in range(0, used, step):
            top, total, acc = _joined(
                outs, lses, first, early, used, top, total, acc, group, dim, wide, reach, step
            )
    tl.store(out + asked, (acc / total[:, None]).to(out.dtype.element_ty), mask=there)
