"""A feature drafter in training, as a stage of the drafters' loop."""

from __future__ import annotations

from bisect import bisect_right
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmspec.train import guards
from mmspec.train.chain import Passes
from mmspec.train.drafter_loop import Course
from mmspec.train.lesson import COLUMNS, Lesson, Mix
from mmspec.train.loop import StepLoss
from mmspec.train.packing import PackedRows, Sample, arrange, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mmspec.train.capture import FrozenTarget
    from mmspec.train.drafter_loop import Crew
    from mmspec.train.responses import Responses

REMEMBERED = 4096  # samples whose prompts are not made again


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How answers become micro-batches.

    Attributes:
        rows, width: of a micro-batch. held_out: answers, the last ones, that are only tried on.
        seed: of the order. bf16: run target and drafter in bfloat16 autocast.
    """

    rows: int = 4
    width: int = 1024
    held_out: int = 64
    seed: int = 1
    bf16: bool = True


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Loss, schedule, and what is read."""

    mix: Mix = Mix()
    course: Course = Course()
    reading: Reading = Reading()


class EagleStage:
    """Micro-batches by number, losses, trials.

    Args:
        answers: all of them; the last ``reading.held_out`` are not learned from.
        keep: writes the checkpoint folder: (step, numbers of the last trial).

    Raises:
        GuardError: nothing to learn from, or the target and the answers do not belong together.
    """

    name = "eagle"

    def __init__(
        self, network: nn.Module, target: FrozenTarget, answers: Responses, kept: Tensor | None,
        plan: Plan, crew: Crew, keep: Callable[[int, Mapping[str, float]], None],
    ) -> None:  # fmt: skip
        reading = plan.reading
        self.steps, self._course, self._reading = plan.course.steps, plan.course, reading
        self._crew, self._batches = crew, [0]
        self._target, self._keep = target, keep
        self._lesson = Lesson(network, target, kept, plan.mix).to(target.device)
        self._wrapped: nn.Module = self._lesson
        if crew.size > 1:
            places = [torch.cuda.current_device()] if target.device.type == "cuda" else None
            self._wrapped = DistributedDataParallel(self._lesson, device_ids=places)
        lengths = answers.lengths()
        self._learned = max(0, len(answers) - reading.held_out)
        self._lengths = lengths[: self._learned]
        self._sample = lru_cache(REMEMBERED)(answers.sample)
        self._arranged = lru_cache(2)(self._arrange)
        tried = arrange([0] * self._learned + lengths[self._learned :], reading.width, 0)
        self._tried = [tried[at : at + reading.rows] for at in range(0, len(tried), reading.rows)]
        guards.check_valid(len(self._arrange(0)), 0)

    def module(self) -> nn.Module:
        """The network, with the running acceptance."""
        return self._lesson

    def trained(self) -> dict[str, nn.Parameter]:
        """Everything of the network that is not frozen."""
        named = self._lesson.network.named_parameters()
        return {name: value for name, value in named if value.requires_grad}

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self._course.rate_at(step)

    def alone(self) -> AbstractContextManager[None]:
        """Within it gradients are not shared between processes."""
        wrapped: Any = self._wrapped
        return wrapped.no_sync() if self._crew.size > 1 else nullcontext()

    def loss(self, step: int) -> StepLoss:
        """Of micro-batch ``step``, the same whenever it is asked for."""
        rows = self._rows(self.members(step))
        self._lesson.train()
        with self._autocast():
            loss, means, counts = self._wrapped(rows, self._target.read(rows))
        guards.check_valid(int(counts[0]), step)
        first = dict(zip(COLUMNS, means[0].tolist(), strict=True))
        if step < self._crew.size:
            guards.check_start(first["ce"], self._width())
        told = {name: first[name] for name in ("ce", "kl", "overlap", "mass")}
        told |= {f"right_{k + 1}": value for k, value in enumerate(means[:, 4].tolist())}
        return StepLoss(loss, rows.count, told)

    def members(self, number: int) -> list[list[int]]:
        """Which answers stand in a micro-batch, a list a row."""
        rows, starts = self._reading.rows, self._batches
        while starts[-1] <= number:  # whole micro-batches only: the rest waits for another order
            starts.append(starts[-1] + max(1, len(self._arranged(len(starts) - 1)) // rows))
        epoch = bisect_right(starts, number) - 1
        first = (number - starts[epoch]) * rows
        return self._arranged(epoch)[first : first + rows]

    @torch.no_grad()
    def trial(self) -> dict[str, float]:
        """Held-out greedy chain drafting, exactly as decoding would go: tau with depth K.

        ``accepted`` is the share of tried drafts that are kept, ``overlap`` the most that can be
        accepted of one draft at temperature 1.
        """
        self._lesson.eval()
        passes: list[Passes] = []
        overlap = torch.zeros(2, device=self._target.device)
        for members in self._tried:
            rows = self._rows(members)
            with self._autocast():
                decoded, shared = self._lesson.trial(rows, self._target.read(rows))
            passes += decoded
            overlap += shared
        told = {"held_out_overlap": float(overlap[0] / overlap[1].clamp_min(1))}
        if passes:
            together = reduce(Passes.join, passes)
            told["held_out_tau"] = together.tau
            told["held_out_accepted"] = float(together.accepted.sum() / together.tried.sum())
        return told

    def keep(self, step: int, trial: Mapping[str, float]) -> None:
        """Write the drafter's checkpoint folder."""
        self._keep(step, trial)

    def check(self) -> dict[str, float]:
        """Look at the first micro-batch before any of it is learned.

        Raises:
            GuardError: pictures do not fit, nothing is learned, or the target did not write this.
        """
        members = self.members(self._crew.rank)
        for number in (number for row in members for number in row):
            guards.check_spans(self._sample(number).prompt, self._target.family.media_tokens)
        rows = self._rows(members)
        guards.check_valid(int(rows.learned.sum()), 0)
        with self._autocast():
            final = self._target.read(rows).final[:, :-1][rows.learned[:, 1:]]
        said = rows.tokens[:, 1:][rows.learned[:, 1:]]
        pairs = zip(final.split(512), said.split(512), strict=True)
        each = [
            nn.functional.cross_entropy(self._target.logits(f).float(), s, reduction="none")
            for f, s in pairs
        ]
        surprise = float(torch.cat(each).mean())
        guards.check_target(surprise, self._target.config.vocab_size)
        return {"surprise": surprise, "tokens": rows.count, "learned": int(rows.learned.sum())}

    def _rows(self, members: Sequence[Sequence[int]]) -> PackedRows:
        samples: list[list[Sample]] = [[self._sample(k) for k in row] for row in members]
        return pack(samples, self._reading.width, self._target.family, str(self._target.device))

    def _arrange(self, epoch: int) -> list[list[int]]:
        return arrange(self._lengths, self._reading.width, self._reading.seed + epoch)

    def _width(self) -> int:
        network: Any = self._lesson.network
        return int(network.config.said)

    def _autocast(self) -> AbstractContextManager[Any]:
        if not self._reading.bf16:
            return nullcontext()
        return torch.autocast(self._target.device.type, torch.bfloat16)
