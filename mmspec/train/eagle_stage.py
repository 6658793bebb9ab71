"""A feature drafter in training, as a stage of the drafters' loop."""

from __future__ import annotations

from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmspec.train import guards
from mmspec.train.chain import Passes, numbers
from mmspec.train.drafter_loop import Course
from mmspec.train.lesson import COLUMNS, Lesson, Look, Mix
from mmspec.train.loop import StepLoss
from mmspec.train.reading import Reader, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mmspec.train.capture import FrozenTarget
    from mmspec.train.drafter_loop import Crew
    from mmspec.train.packing import PackedRows
    from mmspec.train.reading import Answers


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
        look: what a network that sees starts its chains from.

    Raises:
        GuardError: nothing to learn from, or the target and the answers do not belong together.
    """

    name = "eagle"

    def __init__(
        self, network: nn.Module, target: FrozenTarget, answers: Answers, kept: Tensor | None,
        plan: Plan, crew: Crew, keep: Callable[[int, Mapping[str, float]], None],
        look: Look | None = None,
    ) -> None:  # fmt: skip
        self.steps, self._course, self._crew = plan.course.steps, plan.course, crew
        self._target, self._keep = target, keep
        self._lesson = self._teach(network, target, kept, plan, look).to(target.device)
        self._wrapped: nn.Module = self._lesson
        if crew.size > 1:
            places = [torch.cuda.current_device()] if target.device.type == "cuda" else None
            self._wrapped = DistributedDataParallel(self._lesson, device_ids=places)
        self._reader = Reader(answers, target, plan.reading)

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
        rows = self._micro_batch(step)
        self._lesson.train()
        with self._reader.autocast():
            loss, means, counts = self._wrapped(rows, self._target.read(rows))
        guards.check_valid(int(counts[0]), step)
        first = dict(zip(COLUMNS, means[0].tolist(), strict=True))
        if step < self._crew.size:
            guards.check_start(first["ce"], self._width())
        told = {name: first[name] for name in ("ce", "kl", "overlap", "mass")}
        told |= {f"right_{k + 1}": value for k, value in enumerate(means[:, 4].tolist())}
        return StepLoss(loss, rows.count, told)

    def _teach(
        self, network: nn.Module, target: FrozenTarget, kept: Tensor | None, plan: Plan,
        look: Look | None,
    ) -> Lesson:  # fmt: skip
        """The network with its loss."""
        return Lesson(network, target, kept, plan.mix, look)

    def _micro_batch(self, number: int) -> PackedRows:
        """The rows of a micro-batch, as they are learned from."""
        return self._reader.rows(self._reader.members(number))

    @torch.no_grad()
    def trial(self) -> dict[str, float]:
        """Held-out greedy chain drafting, exactly as decoding would go, over all and by kind.

        ``tau`` counts the bonus; ``accepted`` is the share of tried drafts that are kept,
        ``overlap`` the most that can be accepted of one draft at temperature 1.
        """
        self._lesson.eval()
        passes: dict[str, list[Passes]] = defaultdict(list)
        overlap = torch.zeros(2, device=self._target.device)
        for members in self._reader.tried:
            rows = self._reader.rows(members)
            with self._reader.autocast():
                decoded, shared = self._lesson.trial(rows, self._target.read(rows))
            overlap += shared
            for one in decoded:
                kind = self._reader.sample(members[one.row][one.number]).kind
                passes[""].append(one.passes)
                passes[f"/{kind}"].append(one.passes)
        told = {"overlap": float(overlap[0] / overlap[1].clamp_min(1))}
        for kind, some in sorted(passes.items()):
            told |= {f"{name}{kind}": value for name, value in numbers(some).items()}
        return {f"held_out_{name}": value for name, value in told.items()}

    def keep(self, step: int, trial: Mapping[str, float]) -> None:
        """Write the drafter's checkpoint folder."""
        self._keep(step, trial)

    def check(self) -> dict[str, float]:
        """Look at the first micro-batch before any of it is learned.

        Raises:
            GuardError: pictures do not fit, nothing is learned, or the target did not write this.
        """
        return self._reader.check(self._crew.rank)

    def _width(self) -> int:
        network: Any = self._lesson.network
        return int(network.config.said)
