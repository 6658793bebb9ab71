"""Buffers of one pass of a feature drafter, seen by torch and by compiled code at once.

To make and to view a small tensor costs as much as what is done with it, and a level of a tree
has eight rows; so the buffers of one group of rows are kept and written over.

Axes: G groups of R rows, D head dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from mmspec_kernels.stored import stored

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from mmspec.text.eagle_config import EagleConfig


class Buffer(NamedTuple):
    """A tensor, and its rows in stored form."""

    tensor: Tensor
    rows: np.ndarray


class Room(NamedTuple):
    """Buffers of a pass over G R rows; what stands in rows of padding is nobody's affair.

    Attributes:
        read: [G, R, ...], what attention reads. between: [G, R, H]. inner: [G, R, I].
        query: [kv heads, G R, group, D], as it is stored.
    """

    read: Buffer
    between: Buffer
    inner: Buffer
    query: Buffer


def make_room(config: EagleConfig, width: int, groups: tuple[int, int], dtype: torch.dtype) -> Room:
    """Buffers for ``groups`` (G, R), whose attention reads ``width`` numbers a row."""

    def buffer(last: int) -> Buffer:
        made = torch.zeros(*groups, last, dtype=dtype)
        return Buffer(made, stored(made).reshape(-1, last))

    group = config.heads // config.kv_heads
    query = torch.zeros(config.kv_heads, groups[0] * groups[1], group, config.head_dim, dtype=dtype)
    return Room(
        buffer(width), buffer(config.hidden), buffer(config.intermediate),
        Buffer(query, stored(query)),
    )  # fmt: skip


class Views:
    """A store's keys and values as compiled code sees them, made once."""

    def __init__(self) -> None:
        self._of: Tensor | None = None
        self._seen: tuple[np.ndarray, np.ndarray] | None = None

    def of(self, store: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """[kv heads, S, D] each, of [2, kv heads, S, D]."""
        if self._of is not store or self._seen is None:
            self._of, self._seen = store, (stored(store[0]), stored(store[1]))
        return self._seen
