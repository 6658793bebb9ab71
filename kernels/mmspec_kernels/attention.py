"""Attention over the key-value store: trees of guesses, and prefill chunks.

Tree attention is hybrid: the prefix part has no mask (the query heads of one key head are folded
into the query axis), the tail part is per row, and the two are merged by log-sum-exp (natural
logarithm) in float32. On CPU the prefix runs through the flash operator that returns log-sum-exp
and the rest through ``compiled``; on CUDA in Triton (``triton_attention``); on other devices, and
for float64 on CUDA, in plain torch (``reference``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mmspec_kernels import compiled, reference
from mmspec_kernels.stored import arithmetic, stored

if TYPE_CHECKING:
    from types import ModuleType

    from mmspec_kernels.layout import ChunkLayout, Reading, TreeLayout

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def tree_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    store: torch.Tensor,
    layout: TreeLayout,
    reading: Reading,
    scale: float,
) -> torch.Tensor:
    """Store the rows' keys and values, then let every row read its prefix and its own path.

    Args:
        query: [T, Hq, D]. key, value: [T, Hkv, D], contiguous.
        store: [2, Hkv, S, D], this layer's keys and values.
        layout: where rows write. reading: what they read on this kind of layer.
        scale: softmax scale.

    Returns:
        [T, Hq, D]; padding rows are 0.
    """
    if query.device.type != "cpu":
        twin = _twin(query)
        return twin.tree_attention(query, key, value, store, layout, reading, scale)
    rows, heads, dim = query.shape
    compiled.store(
        stored(key), stored(value), layout.slots, layout.tail, stored(store[0]), stored(store[1])
    )
    kv_heads = key.shape[1]
    folded = query.reshape(rows, kv_heads, heads // kv_heads, dim).transpose(0, 1).contiguous()
    return attend_stored(folded, store, layout, reading, scale)


def attend_stored(
    query: torch.Tensor,
    store: torch.Tensor,
    layout: TreeLayout,
    reading: Reading,
    scale: float,
    views: tuple[np.ndarray, np.ndarray] | None = None,
) -> torch.Tensor:
    """Tree attention on CPU over keys and values that are in the store already.

    Args:
        query: [Hkv, T, G, D], contiguous.
        views: keys and values in stored form, where the caller has them at hand.

    Returns:
        [T, Hq, D]; padding rows are 0.
    """
    kv_heads, rows, group, dim = query.shape
    outs, lses = _prefix(query, store, layout.rows, reading, scale)
    out = query.new_empty(rows, kv_heads * group, dim)
    real, word = arithmetic(query.dtype)
    keys, values = views or (stored(store[0]), stored(store[1]))
    compiled.attend_rows(
        stored(query), keys, values, layout.path, layout.tail, reading.skip,
        reading.extra, reading.extra_end, reading.window, reading.offset, stored(outs),
        lses.numpy(), real.dtype.type(scale), stored(out), real, word,
    )  # fmt: skip
    return out


def chunk_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    store: torch.Tensor,
    layout: ChunkLayout,
    sliding: int | None,
    scale: float,
) -> torch.Tensor:
    """Store a prefill chunk's keys and values and let it read everything before itself.

    Args:
        query: [C, Hq, D]. key, value: [C, Hkv, D]. store: [2, Hkv, S, D].
        layout: where the chunk stands. sliding: keys a row sees back, itself included; None: all.
        scale: softmax scale.

    Returns:
        [C, Hq, D].
    """
    count, heads, dim = query.shape
    start, stop = layout.start, layout.start + count
    here = slice(layout.base + start, layout.base + stop)
    store[0, :, here] = key.transpose(0, 1)
    store[1, :, here] = value.transpose(0, 1)
    if query.device.type != "cpu" or (sliding is not None and sliding < stop):
        first = 0 if sliding is None else max(0, start - sliding + 1)
        seen = store[:, :, layout.base + first : layout.base + stop]
        return _twin(query).chunk_attention(query, seen, start - first, sliding, scale)
    asked = query.transpose(0, 1)[None]
    out, lse = _flash(asked, store[0:1, :, here], store[1:2, :, here], 0.0, True, scale=scale)
    if start == 0:
        return out[0].transpose(0, 1)
    past = slice(layout.base, layout.base + start)
    folded = asked.reshape(1, key.shape[1], -1, dim)
    old, old_lse = _flash(folded, store[0:1, :, past], store[1:2, :, past], 0.0, False, scale=scale)
    old, old_lse = old.reshape(heads, count, dim), old_lse.reshape(heads, count)
    return reference.merge(out[0], lse[0], old, old_lse).to(query.dtype).transpose(0, 1)


def move_rows(store: torch.Tensor, sources: np.ndarray, targets: np.ndarray) -> None:
    """Copy slots of the store [L, 2, Hkv, S, D] to earlier ones, on its own device.

    Args:
        sources, targets: int64 [N], ascending; no target is past its source.
    """
    if store.device.type == "cpu":
        raw = store.view(torch.uint16) if store.itemsize == 2 else store
        compiled.move_rows(raw.numpy(), sources, targets)
        return
    to, where = torch.from_numpy(np.stack([targets, sources])).to(store.device)
    if store.is_cuda:
        from mmspec_kernels import triton_attention  # noqa: PLC0415  # only where CUDA is

        triton_attention.move_rows(store, where, to)
    else:
        store[:, :, :, to] = store[:, :, :, where]


def _twin(query: torch.Tensor) -> ModuleType:
    """What stands for the CPU's compiled attention where these rows are."""
    if not query.is_cuda or query.dtype == torch.float64:
        return reference
    from mmspec_kernels import triton_attention  # noqa: PLC0415  # only where CUDA is

    return triton_attention


def _prefix(
    query: torch.Tensor, store: torch.Tensor, rows: int, reading: Reading, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every window's prefix part: [NW, Hkv, R * G, D] and its log-sum-exp [NW, Hkv, R * G]."""
    kv_heads, _, group, dim = query.shape
    shape = (len(reading.windows), kv_heads, rows * group)
    lse_type = torch.float64 if query.dtype == torch.float64 else torch.float32
    outs, lses = query.new_empty(*shape, dim), query.new_empty(shape, dtype=lse_type)
    for index, window in enumerate(reading.windows):
        part = query[:, window.first : window.first + rows].view(1, kv_heads, rows * group, dim)
        if window.slots is None:
            block = store[:, None, :, window.start : window.stop]
        else:
            block = store.index_select(2, torch.from_numpy(window.read()))[:, None]
        out, lse = _flash(part, block[0], block[1], 0.0, False, scale=scale)
        if len(reading.windows) == 1:
            # The operator returns both with head and row axes exchanged.
            return out.contiguous(), lse.contiguous()
        outs[index], lses[index] = out[0], lse[0]
    return outs, lses
