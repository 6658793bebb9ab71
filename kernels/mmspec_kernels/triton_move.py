"""Compaction in Triton: the rows of an accepted path close up behind the committed ones."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def move(  # type: ignore[no-untyped-def]
    store, sources, targets, count, side_stride,
    dim: tl.constexpr, wide: tl.constexpr, tile: tl.constexpr,
):  # fmt: skip
    """Grid (L * 2 * Hkv,): each program moves ``count`` rows of [S, D].

    Args:
        store: [L * 2 * Hkv, S, D], ``side_stride`` from one [S, D] to the next.
        sources, targets: int64 [count], slots. Both may overlap.
        tile: at least ``count``, a power of two. wide: D rounded up to one.
    """
    n = tl.arange(0, tile)
    d = tl.arange(0, wide)
    mine = store + tl.program_id(0).to(tl.int64) * side_stride + d[None, :]
    there = (n < count)[:, None] & (d < dim)[None, :]
    source = tl.load(sources + n, mask=n < count, other=0)
    target = tl.load(targets + n, mask=n < count, other=0)
    held = tl.load(mine + source[:, None] * dim, mask=there)
    # A target may be another row's source, held by another thread.
    tl.debug_barrier()
    tl.store(mine + target[:, None] * dim, held, mask=there)
