"""Packed rows as a text model reads them: without the places of pictures.

Axes: B rows, T tokens of a row, W tokens that are left of the longest one, N learned tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from mmspec.train.packing import places

if TYPE_CHECKING:
    from torch import Tensor

    from mmspec.train.packing import PackedRows


class BlindRows(NamedTuple):
    """What is read, and which of its states say which tokens.

    Attributes:
        tokens: int64 [B, W], 0 on padding.
        positions: int64 [B, W], place within the sample, pictures not counted.
        sample: int64 [B, W], which sample of its row a token is of; -1 on padding.
        row, slot: int64 [N], the state that has read all before a learned token.
        column: int64 [N], where that token stands in the packed rows.
    """

    tokens: Tensor
    positions: Tensor
    sample: Tensor
    row: Tensor
    slot: Tensor
    column: Tensor


def blind(rows: PackedRows) -> BlindRows:
    """Leave out what stands for pictures, and close the gaps.

    A response to which no text led (a prompt of pictures alone) loses its first token.
    """
    read = rows.sample >= 0
    for placed in rows.pictures:
        read[placed.row, placed.start : placed.stop] = False
    order, real = places(read)
    sample = torch.where(real, rows.sample.gather(1, order), -1)
    place = torch.arange(order.shape[1], device=order.device).expand_as(order)
    first = torch.ones_like(real)
    first[:, 1:] = sample[:, 1:] != sample[:, :-1]
    row, column = rows.learned.nonzero(as_tuple=True)
    slot = (read.cumsum(1) - 1)[row, column] - 1
    led = (slot >= 0) & (sample[row, slot.clamp_min(0)] == rows.sample[row, column])
    return BlindRows(
        tokens=torch.where(real, rows.tokens.gather(1, order), 0),
        positions=place - torch.where(first, place, 0).cummax(1).values,
        sample=sample,
        row=row[led],
        slot=slot[led],
        column=column[led],
    )
