"""The prefix part of tree attention in Triton: split over the keys, no mask but the length.

One program takes the rows of one window (the query heads of one key head folded into the query
axis, token after token) over one part of the window's keys. A few programs more write the step's
own keys and values into the store, which nothing here reads.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmspec_kernels.triton_shared import (
    COLUMNS,
    LN2,
    LOG2E,
    SLOT,
    TAIL,
    absorb,
    multiply,
    nothing,
    portion,
)


@triton.jit
def _keep(  # type: ignore[no-untyped-def]
    fresh, store, row, rows, head, total_rows, slots,
    kv_heads: tl.constexpr, dim: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """Write one head of the rows ``row`` [N], unless they are padding, to their slots."""
    real = row < total_rows
    real &= tl.load(rows + row * COLUMNS + TAIL, mask=real, other=0) > 0
    slot = tl.load(rows + row * COLUMNS + SLOT, mask=real, other=0).to(tl.int64)
    d = tl.arange(0, wide)
    there = real[:, None] & (d < dim)[None, :]
    held = tl.load(fresh + (row[:, None] * kv_heads + head) * dim + d[None, :], mask=there)
    place = (head.to(tl.int64) * slots + slot[:, None]) * dim + d[None, :]
    tl.store(store + place, held, mask=there)


@triton.jit
def prefix(  # type: ignore[no-untyped-def]
    query, key, value, key_store, value_store, windows, rows, pages, outs, lses,
    scale, total_rows, slots, page_count, window_count,
    kv_heads: tl.constexpr, group: tl.constexpr, dim: tl.constexpr, wide: tl.constexpr,
    reach: tl.constexpr, tile: tl.constexpr, block: tl.constexpr, parts: tl.constexpr,
    least: tl.constexpr, page: tl.constexpr, widened: tl.constexpr,
):  # fmt: skip
    """Grid (row blocks of all windows, then blocks of ``tile`` rows to store; Hkv; parts).

    Args:
        query: [T, Hq, D]. key, value: [T, Hkv, D]. key_store, value_store: [Hkv, S, D].
        windows: int32 [NW, 3] and rows: int32 [T, COLUMNS], see ``triton_tables``.
        pages: int32 [NW, page_count], first slot over ``page`` of each page of a window's
            sequence; not read when ``page`` is 0 and slots follow one another.
        outs, lses: float32 [NW, Hkv, parts, R * G, D] and [NW, Hkv, parts, R * G], written: each
            part's softmax and natural log-sum-exp. Parts past the window's end are not.
        scale: softmax scale. total_rows: T. slots: S. window_count: NW.
        reach: R * G, rows of a window after folding. tile: rows of one program.
        block: keys read at once. parts, least: see ``portion``.
        wide: D rounded up to a power of two. widened: see ``multiply``.
    """
    blocks: tl.constexpr = (reach + tile - 1) // tile
    window = tl.program_id(0) // blocks
    head = tl.program_id(1)
    part = tl.program_id(2)
    d = tl.arange(0, wide)
    if window >= window_count:
        if part == 0:
            row = (tl.program_id(0) - window_count * blocks) * tile + tl.arange(0, tile)
            _keep(key, key_store, row, rows, head, total_rows, slots, kv_heads, dim, wide)
            _keep(value, value_store, row, rows, head, total_rows, slots, kv_heads, dim, wide)
        return
    start = tl.load(windows + window * 3 + 1)
    length = tl.load(windows + window * 3 + 2) - start
    each = portion(length, parts, least)
    begin = part * each
    if begin >= length:
        return
    end = tl.minimum(begin + each, length)
    folded = tl.program_id(0) % blocks * tile + tl.arange(0, tile)
    row = tl.load(windows + window * 3) + folded // group
    asked = (row * kv_heads + head) * group + folded % group
    there = (folded < reach)[:, None] & (d < dim)[None, :]
    q = tl.load(query + asked[:, None] * dim + d[None, :], mask=there, other=0.0)
    side = head.to(tl.int64) * slots * dim
    top, total, acc = nothing(tile, wide)
    for at in range(begin, end, block):
        n = at + tl.arange(0, block)
        inside = n < end
        slot = (start + n).to(tl.int64)
        if page > 0:
            found = tl.load(pages + window * page_count + slot // page, mask=inside, other=0)
            slot = found.to(tl.int64) * page + slot % page
        place = side + slot[:, None] * dim + d[None, :]
        seen = inside[:, None] & (d < dim)[None, :]
        k = tl.load(key_store + place, mask=seen, other=0.0)
        v = tl.load(value_store + place, mask=seen, other=0.0)
        scores = multiply(q, tl.trans(k), tl.zeros([tile, block], tl.float32), widened)
        scores = tl.where(inside[None, :], scores * (scale * LOG2E), float("-inf"))
        top, total, acc = absorb(scores, v, top, total, acc, widened)
    at = ((window * kv_heads + head) * parts + part).to(tl.int64) * reach + folded
    tl.store(lses + at, (top + tl.log2(total)) * LN2, mask=folded < reach)
    tl.store(outs + at[:, None] * dim + d[None, :], acc / total[:, None], mask=there)
