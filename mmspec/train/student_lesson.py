"""One micro-batch of a student: the target's law beside its own; and the same on held-out text.

Axes: B rows, T tokens of a row, N learned tokens, V vocabulary, H hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmspec.model.families.find import find_family
from mmspec.train import chain, losses
from mmspec.train.blind import blind
from mmspec.train.capture import masks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmspec.train.blind import BlindRows
    from mmspec.train.capture import Captured, FrozenTarget
    from mmspec.train.chain import Passes
    from mmspec.train.packing import PackedRows

COLUMNS = ("loss", *losses.SHOWN)


class Aim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the student is taught by.

    Attributes:
        distance: of its law from the target's, at temperature 1; hybrid weighs KL and total
            variation by running acceptance (``eta``), tvd++ is total variation as a policy
            gradient.
        momentum: of the running acceptance.
        chunk: tokens whose logits exist at once.
    """

    distance: losses.Distance = "hybrid"
    eta: float = 3.0
    momentum: float = 0.95
    chunk: int = 1024


class Tried(NamedTuple):
    """One sample, tried on: its row and number there, its passes if it was written greedily."""

    row: int
    number: int
    passes: Passes | None
    overlap: float
    tokens: int


class StudentLesson(nn.Module):
    """A student with the loss it is trained by; what ``DistributedDataParallel`` wraps."""

    running: Tensor

    def __init__(self, student: Any, target: FrozenTarget, aim: Aim) -> None:
        super().__init__()
        self.student = student
        self.aim = aim
        self._family, self._target = find_family(student), target
        self.register_buffer("running", torch.zeros(()))

    def forward(self, rows: PackedRows, captured: Captured) -> tuple[Tensor, Tensor, int]:
        """Loss, means [len(COLUMNS)], and how many tokens were learned from."""
        read = blind(rows)
        share = losses.hybrid_share(self.running, self.aim.eta)
        total = self.running.new_zeros(len(COLUMNS))
        for states, final, _ in self._parts(read, captured):
            total = total + checkpoint(self._sums, share, states, final, use_reentrant=False)
        means = total / max(1, len(read.row))
        if self.training:
            with torch.no_grad():
                self.running.lerp_(means[COLUMNS.index("overlap")], 1 - self.aim.momentum)
        return means[0], means.detach(), len(read.row)

    @torch.no_grad()
    def trial(self, rows: PackedRows, captured: Captured, depth: int) -> list[Tried]:
        """Every sample: greedy chain drafting of ``depth``, and what can be accepted of one draft.

        A chain of drafts goes on only from tokens that were right, so reading the text itself
        shows every draft that decoding would make.
        """
        read = blind(rows)
        right = torch.zeros_like(rows.learned)
        count = int(rows.sample.max()) + 1
        sums = torch.zeros((2, len(rows.tokens), count), dtype=torch.float64, device=right.device)
        for states, final, at in self._parts(read, captured):
            row, column = read.row[at], read.column[at]
            logits = self._family.head(states)
            right[row, column] = logits.argmax(-1) == rows.tokens[row, column]
            law = losses.law(self._target.logits(final), None)
            each = losses.overlap(law.log_p, losses.log_law(logits), law.mass).double()
            told = torch.stack([each, torch.ones_like(each)])
            for place, values in zip(sums, told, strict=True):
                place.index_put_((row, rows.sample[row, column]), values, accumulate=True)
        decoded = {
            (one.row, one.number): one.passes
            for one in chain.decode(rows, right.expand(depth, -1, -1))
        }
        return [
            Tried(row, number, decoded.get((row, number)), overlap, int(tokens))
            for row, (overlaps, counts) in enumerate(sums.transpose(0, 1).tolist())
            for number, (overlap, tokens) in enumerate(zip(overlaps, counts, strict=True))
            if tokens
        ]

    def _parts(
        self, read: BlindRows, captured: Captured
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Chunks of learned tokens: the student's and the target's states [N, H], and which."""
        states = self._family.decoder(
            input_ids=read.tokens,
            attention_mask=masks(self.student.config, read.sample),
            position_ids=read.positions,
            use_cache=False,
        ).last_hidden_state[read.row, read.slot]
        final = captured.final[read.row, read.column - 1]
        for at in torch.arange(len(states), device=states.device).split(self.aim.chunk):
            yield states[at], final[at], at

    def _sums(self, share: Tensor, states: Tensor, final: Tensor) -> Tensor:
        """Sums over a chunk, [len(COLUMNS)]; only the loss has a gradient."""
        law = losses.law(self._target.logits(final), None)
        log_q = losses.log_law(self._family.head(states))
        each = losses.distance(self.aim.distance, law, log_q, share)
        with torch.no_grad():
            shown = losses.shown(law, log_q)
        return torch.stack([values.sum() for values in (each, *shown)])
