"""Far places in short texts: positions that jump, the same ones for target and drafter.

LongSpec's anchor offset (arXiv:2502.17421, section 3.2) moves all but a sample's first tokens by a
random stretch. Rotation is relative, so what moves together does not get farther apart: only the
anchors do. A jump anywhere in the prompt (PoSE, arXiv:2309.10400) puts what stands before it as far
from the answer as it would be in a long text, which is what a drafter has to find there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from mmspec.train.data.seeds import generator

if TYPE_CHECKING:
    from mmspec.train.packing import PackedRows


class Stretching(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How positions are stretched.

    Attributes:
        share: of the samples that are stretched.
        reach: longest jump, in positions; never past the target's last place less ``margin``.
        anchors: most leading tokens that stay where a jump is an anchor's.
        anywhere: share of the jumps that stand anywhere in the prompt.
    """

    share: float = 1.0
    reach: int = 30_000
    anchors: int = 4
    anywhere: float = 0.0
    margin: int = 1000


def stretch(rows: PackedRows, how: Stretching, limit: int, seed: int) -> PackedRows:
    """Rows with the target's positions stretched; the drafter's own stay places in a text.

    Args:
        limit: positions of the target. seed: with equal ones the jumps are equal.
    """
    positions = rows.positions.clone()
    for row, sample in enumerate(rows.sample):
        for number in range(int(sample.max()) + 1):
            mine = (sample == number).nonzero().squeeze(1)
            rng = generator(seed, f"stretch {row} {number}")
            if rng.random() >= how.share:
                continue
            answer = int(rows.learned[row, mine].int().argmax())  # the prompt's length
            still = rng.randint(0, min(how.anchors, len(mine) - 1))
            if rng.random() < how.anywhere:
                still = rng.randint(0, answer)
            room = max(0, min(how.reach, limit - how.margin) - len(mine))
            positions[..., row, mine[still:]] += rng.randint(0, room)
    return replace(rows, positions=positions)
