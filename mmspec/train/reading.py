"""Answers as micro-batches by number, to learn from and to be tried on."""

from __future__ import annotations

from bisect import bisect_right
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import torch
from torch.nn.functional import cross_entropy

from mmspec.train import guards
from mmspec.train.packing import PackedRows, Sample, arrange, pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.train.capture import FrozenTarget

REMEMBERED = 4096  # samples whose prompts are not made again
AT_ONCE = 512  # tokens whose logits exist together while the first rows are checked


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How answers become micro-batches.

    Attributes:
        rows, width: of a micro-batch. held_out: answers, the last ones, that are only tried on.
        seed: of the order. bf16: run target and drafter in bfloat16 autocast.
        alone: an answer has a row for itself, and rows are as wide as the longest of them: long
            texts among short ones then cost what they are long.
    """

    rows: int = 4
    width: int = 1024
    held_out: int = 64
    seed: int = 1
    bf16: bool = True
    alone: bool = False


class Answers(Protocol):
    """Samples by number."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def lengths(self) -> list[int]:
        """Tokens of every sample."""
        ...

    def sample(self, number: int) -> Sample:
        """One of them."""
        ...


class Reader:
    """Micro-batches by number: the same number always gives the same rows.

    Args:
        answers: the last ``reading.held_out`` are not learned from.
        target: whose positions and pictures the rows are laid out for.

    Attributes:
        tried: the held-out answers' numbers, a micro-batch of rows each.

    Raises:
        GuardError: there is nothing to learn from.
    """

    def __init__(self, answers: Answers, target: FrozenTarget, reading: Reading) -> None:
        self._reading, self._target = reading, target
        lengths, learned = answers.lengths(), max(0, len(answers) - reading.held_out)
        self._lengths, self._batches = lengths[:learned], [0]
        self.sample = lru_cache(REMEMBERED)(answers.sample)
        self._arranged = lru_cache(2)(self._arrange)
        tried = self._shared([0] * learned + lengths[learned:], 0)
        self.tried = [tried[at : at + reading.rows] for at in range(0, len(tried), reading.rows)]
        guards.check_valid(len(self._arranged(0)), 0)

    def members(self, number: int) -> list[list[int]]:
        """Which answers stand in a micro-batch, a list a row."""
        rows, starts = self._reading.rows, self._batches
        while starts[-1] <= number:  # whole micro-batches only: the rest waits for another order
            starts.append(starts[-1] + max(1, len(self._arranged(len(starts) - 1)) // rows))
        epoch = bisect_right(starts, number) - 1
        first = (number - starts[epoch]) * rows
        return self._arranged(epoch)[first : first + rows]

    def rows(self, members: Sequence[Sequence[int]]) -> PackedRows:
        """Answers laid out for target and drafter."""
        samples: list[list[Sample]] = [[self.sample(k) for k in row] for row in members]
        width = self._reading.width
        if self._reading.alone:
            width = max(map(len, (sample for row in samples for sample in row)))
        return pack(samples, width, self._target.family, str(self._target.device))

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic that was asked for."""
        if not self._reading.bf16:
            return nullcontext()
        return torch.autocast(self._target.device.type, torch.bfloat16)

    @torch.no_grad()
    def check(self, number: int) -> dict[str, float]:
        """Look at a micro-batch before any of it is learned.

        Raises:
            GuardError: pictures do not fit, nothing is learned, or the target did not write this.
        """
        members = self.members(number)
        for answer in (answer for row in members for answer in row):
            guards.check_spans(self.sample(answer).prompt, self._target.family.media_tokens)
        rows = self.rows(members)
        guards.check_valid(int(rows.learned.sum()), 0)
        with self.autocast():
            final = self._target.read(rows).final[:, :-1][rows.learned[:, 1:]]
        said = rows.tokens[:, 1:][rows.learned[:, 1:]]
        pairs = zip(final.split(AT_ONCE), said.split(AT_ONCE), strict=True)
        each = [
            cross_entropy(self._target.logits(f).float(), s, reduction="none") for f, s in pairs
        ]
        surprise = float(torch.cat(each).mean())
        guards.check_target(surprise, self._target.config.vocab_size)
        return {"surprise": surprise, "tokens": rows.count, "learned": int(rows.learned.sum())}

    def _arrange(self, epoch: int) -> list[list[int]]:
        return self._shared(self._lengths, self._reading.seed + epoch)

    def _shared(self, lengths: Sequence[int], seed: int) -> list[list[int]]:
        """Which samples stand in which row, for an order of them."""
        width = self._reading.width
        if self._reading.alone:  # so none fits beside another
            lengths = [width if 0 < length <= width else 0 for length in lengths]
        return arrange(lengths, width, seed)
