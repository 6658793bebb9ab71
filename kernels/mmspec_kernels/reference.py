"""What the kernels mean, in plain torch, on any device: the oracle of the tests.

Slower than the compiled forms, and easier to believe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from mmspec_kernels.layout import Reading, TreeLayout


def merge(
    out: torch.Tensor, lse: torch.Tensor, other: torch.Tensor, other_lse: torch.Tensor
) -> torch.Tensor:
    """Join two parts of one softmax: outputs [..., D] with natural log-sum-exps [...].

    Returns float32, or float64 for float64 parts. A log-sum-exp of -1e30 or less weighs nothing.
    """
    wide = torch.float64 if out.dtype == torch.float64 else torch.float32
    share = torch.sigmoid(other_lse - lse)[..., None]
    first = out.to(wide)
    return first + share * (other.to(wide) - first)


def tree_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    store: torch.Tensor,
    layout: TreeLayout,
    reading: Reading,
    scale: float,
) -> torch.Tensor:
    """Same contract as ``attention.tree_attention``; one dense softmax a row."""
    real = torch.as_tensor(layout.tail, device=query.device) > 0
    slots = torch.as_tensor(layout.slots, device=query.device)[real]
    store[0, :, slots] = key[real].transpose(0, 1)
    store[1, :, slots] = value[real].transpose(0, 1)
    out = torch.zeros_like(query)
    for row, length in enumerate(layout.tail.tolist()):
        if length == 0:
            continue
        seen = [torch.as_tensor(layout.path[row, reading.skip[row] : length].astype("int64"))]
        seen.append(torch.arange(int(reading.extra[row]), int(reading.extra_end[row])))
        if reading.window[row] >= 0:
            window = reading.windows[reading.window[row]]
            seen.append(torch.from_numpy(window.read()))
        index = torch.cat(seen).to(query.device)
        out[row] = _attend(query[row][:, None], store[:, :, index], None, scale)[:, 0]
    return out


def chunk_attention(
    query: torch.Tensor, seen: torch.Tensor, past: int, sliding: int | None, scale: float
) -> torch.Tensor:
    """Causal, optionally sliding attention of a chunk over ``past`` keys and itself.

    Args:
        query: [C, Hq, D]. seen: [2, Hkv, past + C, D], the chunk's own keys last.
        past: keys before the chunk. sliding: keys a row sees back, itself included; None: all.
        scale: softmax scale.
    """
    count, total = query.shape[0], seen.shape[2]
    here = torch.arange(past, past + count, device=query.device)[:, None]
    there = torch.arange(total, device=query.device)[None]
    allowed = there <= here
    if sliding is not None:
        allowed &= there > here - sliding
    bias = torch.zeros(count, total, dtype=query.dtype, device=query.device)
    bias.masked_fill_(~allowed, float("-inf"))
    return _attend(query.transpose(0, 1), seen, bias, scale).transpose(0, 1)


def _attend(
    query: torch.Tensor, seen: torch.Tensor, bias: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Softmax attention in at least float32: query [Hq, T, D], seen [2, Hkv, S, D]."""
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    group = query.shape[0] // seen.shape[1]
    keys, values = seen.to(wide).repeat_interleave(group, dim=1)
    scores = query.to(wide) @ keys.transpose(1, 2) * scale
    if bias is not None:
        scores = scores + bias.to(wide)
    return (torch.softmax(scores, dim=-1) @ values).to(query.dtype)
