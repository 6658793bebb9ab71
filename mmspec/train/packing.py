"""Samples packed into rows: the target's and the drafter's forward read the same arrays.

Axes: B rows, T tokens of a row. Samples of one row do not see each other.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from mmspec.core.request import Media, Prompt
    from mmspec.model.families.family import Family

OPEN = 64  # rows that still take samples while packing; bounds the search


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt and the target's own answer to it.

    Attributes:
        response: int64 [R], as the target said it, its stop token included.
        greedy: whether every token of it was the target's most likely one.
        kind: of the question.
    """

    prompt: Prompt
    response: np.ndarray
    greedy: bool = True
    kind: str = ""

    def __len__(self) -> int:
        return len(self.prompt.ids) + len(self.response)


class Placed(NamedTuple):
    """A picture's placeholders in the rows: row, first and past-the-last column."""

    media: Media
    row: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows of samples; all on one device.

    Attributes:
        tokens: int64 [B, T], 0 on padding.
        positions: int64 [B, T] or [3, B, T], the target's rotary positions.
        index: int64 [B, T], place within the sample: the drafter's positions.
        sample: int64 [B, T], which sample of its row a token is of; -1 on padding.
        learned: bool [B, T], tokens of responses.
        pictures: in the order of their placeholders.
        greedy: bool [B, T], tokens of greedily written samples.
    """

    tokens: Tensor
    positions: Tensor
    index: Tensor
    sample: Tensor
    learned: Tensor
    greedy: Tensor
    pictures: tuple[Placed, ...] = ()

    @property
    def count(self) -> int:
        """Tokens that are not padding."""
        return int((self.sample >= 0).sum())


def visible(sample: Tensor) -> Tensor:
    """Which key (last axis) each query sees, bool [B, T, T]; padding sees padding.

    Args:
        sample: int64 [B, T], which sample of its row a token is of.
    """
    same = sample[:, :, None] == sample[:, None, :]
    return same & torch.ones_like(same[0]).tril()


def pack(rows: Sequence[Sequence[Sample]], width: int, family: Family, device: str) -> PackedRows:
    """Lay samples behind one another; raises ValueError where they exceed ``width``."""
    axes, shape = family.axes, (len(rows), width)
    tokens, index = (torch.zeros(shape, dtype=torch.int64) for _ in range(2))
    sample = torch.full(shape, -1)
    learned, greedy = (torch.zeros(shape, dtype=torch.bool) for _ in range(2))
    positions = torch.zeros((axes, *shape), dtype=torch.int64)
    pictures: list[Placed] = []
    for row, members in enumerate(rows):
        start = 0
        for number, said in enumerate(members):
            begin, stop = start + len(said.prompt.ids), start + len(said)
            if stop > width:
                raise ValueError(f"samples of {stop} tokens do not fit {width}")
            tokens[row, start:begin] = torch.from_numpy(said.prompt.ids)
            tokens[row, begin:stop] = torch.from_numpy(said.response)
            index[row, start:stop] = torch.arange(len(said))
            sample[row, start:stop] = number
            learned[row, begin:stop] = True
            greedy[row, start:stop] = said.greedy
            place, shift = family.positions(said.prompt)
            positions[:, row, start:begin] = place
            positions[:, row, begin:stop] = torch.arange(begin - start, stop - start) + shift
            pictures += [
                Placed(m, row, start + m.start, start + m.start + m.length)
                for m in said.prompt.media
            ]
            start = stop
    if axes == 1:
        positions = positions[0]
    return PackedRows(
        tokens=tokens.to(device),
        positions=positions.to(device),
        index=index.to(device),
        sample=sample.to(device),
        learned=learned.to(device),
        greedy=greedy.to(device),
        pictures=tuple(pictures),
    )


def arrange(lengths: Sequence[int], width: int, seed: int) -> list[list[int]]:
    """Shuffle samples and share them out to rows, first fit; those too long are left out.

    Args:
        lengths: tokens of every sample.

    Returns:
        The samples' numbers, a list a row; the same for the same arguments.
    """
    order = [number for number, length in enumerate(lengths) if 0 < length <= width]
    random.Random(seed).shuffle(order)
    full: list[list[int]] = []
    open_rows: list[tuple[list[int], int]] = []
    for number in order:
        for place, (members, room) in enumerate(open_rows):
            if lengths[number] <= room:
                members.append(number)
                open_rows[place] = (members, room - lengths[number])
                break
        else:
            if len(open_rows) == OPEN:
                full.append(open_rows.pop(min(range(OPEN), key=lambda k: open_rows[k][1]))[0])
            open_rows.append(([number], width - lengths[number]))
    full += [members for members, _ in open_rows]
    random.Random(seed + 1).shuffle(full)
    return full


def places(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Places of True in each row of [B, S], int64 [B, N], and which of them are no padding."""
    count = chosen.sum(1)
    width = max(1, int(count.max()))
    order = chosen.int().argsort(dim=1, descending=True, stable=True)[:, :width]
    real = torch.arange(width, device=chosen.device) < count[:, None]
    return torch.where(real, order, 0), real
