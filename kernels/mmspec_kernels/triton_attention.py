"""The Triton twins of ``reference``: same signatures, two launches for a layer of a tree step.

Unlike the reference they never look at a layout row by row on the host: the tables go to the
device once a step. float32, float16 and bfloat16; sums are float32.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import triton

from mmspec_kernels import triton_chunk, triton_move, triton_prefix, triton_tail
from mmspec_kernels.triton_shapes import LEAST, Heads, chunk_shape, finish_shape, prefix_shape
from mmspec_kernels.triton_tables import tables

if TYPE_CHECKING:
    from mmspec_kernels.layout import Reading, TreeLayout

TYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Pages:
    """Where positions lie when a sequence's slots do not follow one another.

    Windows then count positions of their sequence, not slots.

    Attributes:
        table: int32 [NW, MP], for each window its sequence's pages in order.
        size: slots a page.
    """

    table: torch.Tensor
    size: int


def tree_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    store: torch.Tensor,
    layout: TreeLayout,
    reading: Reading,
    scale: float,
    pages: Pages | None = None,
) -> torch.Tensor:
    """Same contract as ``attention.tree_attention``, over paged prefixes too."""
    heads = _heads(query, key.shape[1])
    placed = tables(layout, reading, query.device)
    outs, lses = prefix_parts(query, key, value, store, layout, reading, scale, pages)
    out = torch.empty_like(query)
    shape = finish_shape(heads, layout.rows * heads.group, placed.path.shape[1], placed.extras)
    triton_tail.finish[len(query), heads.kv_heads](
        query, store[0], store[1], placed.windows, placed.rows, placed.path, outs, lses, out,
        scale, store.shape[2], widened=_widened(query), **shape,
    )  # fmt: skip
    return out


def prefix_parts(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    store: torch.Tensor,
    layout: TreeLayout,
    reading: Reading,
    scale: float,
    pages: Pages | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first launch: rows stored, and every part of every window's prefix.

    Returns:
        float32 [NW, Hkv, P, R * G, D], and its natural log-sum-exps [NW, Hkv, P, R * G]. Parts
        past a window's end are left as they were found.
    """
    heads = _heads(query, key.shape[1])
    placed = tables(layout, reading, query.device)
    if pages is None and placed.slots is not None:
        pages = Pages(placed.slots, 1)
    count, reach = len(placed.windows), layout.rows * heads.group
    parts = (count, heads.kv_heads, heads.parts, reach)
    outs = query.new_empty(*parts, heads.dim, dtype=torch.float32)
    lses = query.new_empty(parts, dtype=torch.float32)
    shape = prefix_shape(heads, reach)
    tile = shape["tile"]
    blocks = count * triton.cdiv(reach, tile) + triton.cdiv(len(query), tile)
    table = placed.windows if pages is None else pages.table
    # Parts that no window is long enough for would only begin and return.
    used = min(heads.parts, max(1, triton.cdiv(placed.longest, LEAST)))
    triton_prefix.prefix[blocks, heads.kv_heads, used](
        query, key, value, store[0], store[1], placed.windows, placed.rows, table, outs, lses,
        scale, len(query), store.shape[2], table.shape[1], count,
        page=0 if pages is None else pages.size, widened=_widened(query), **shape,
    )  # fmt: skip
    return outs, lses


def chunk_attention(
    query: torch.Tensor, seen: torch.Tensor, past: int, sliding: int | None, scale: float
) -> torch.Tensor:
    """Same contract as ``reference.chunk_attention``."""
    heads = _heads(query, seen.shape[1])
    count = query.shape[0]
    shape = chunk_shape(heads)
    out = torch.empty_like(query)
    triton_chunk.chunk[triton.cdiv(count * heads.group, shape["tile"]), heads.kv_heads](
        query, seen[0], seen[1], out, scale, seen.stride(1), past, count,
        past + count if sliding is None else sliding, widened=_widened(query), **shape,
    )  # fmt: skip
    return out


def move_rows(store: torch.Tensor, sources: torch.Tensor, targets: torch.Tensor) -> None:
    """Copy slots of [L, 2, Hkv, S, D], all read before any is written.

    Args:
        sources, targets: int64 [N] on the store's device.
    """
    layers, sides, heads, slots, dim = store.shape
    count = len(sources)
    triton_move.move[(layers * sides * heads,)](
        store, sources, targets, count, slots * dim,
        dim=dim, wide=triton.next_power_of_2(dim), tile=triton.next_power_of_2(count),
    )  # fmt: skip


def _heads(query: torch.Tensor, kv_heads: int) -> Heads:
    """The attention shape of rows [T, Hq, D].

    Raises:
        TypeError: the kernels do not know the dtype.
        ValueError: the rows are not contiguous.
    """
    if query.dtype not in TYPES:
        raise TypeError(f"no Triton attention for {query.dtype}")
    if not query.is_contiguous():
        raise ValueError("rows must be contiguous")
    _, heads, dim = query.shape
    return Heads(kv_heads, heads // kv_heads, dim, query.dtype)


def _widened(query: torch.Tensor) -> bool:
    """Whether the interpreter runs the kernels, which cannot multiply bfloat16."""
    return os.environ.get("TRITON_INTERPRET") == "1" and query.dtype == torch.bfloat16
