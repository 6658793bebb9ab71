"""A student in training, as a stage of the drafters' loop: two sources of micro-batches, trials."""

from __future__ import annotations

from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmspec.train import chain, guards
from mmspec.train.drafter_loop import Course
from mmspec.train.loop import StepLoss
from mmspec.train.own_answers import Own
from mmspec.train.reading import Reader, Reading
from mmspec.train.student_lesson import COLUMNS, Aim, StudentLesson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mmspec.train.capture import FrozenTarget
    from mmspec.train.drafter_loop import Crew
    from mmspec.train.packing import PackedRows
    from mmspec.train.reading import Answers
    from mmspec.train.student_lesson import Tried

TOLD = ("ce", "kl", "overlap", "accepted")


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Loss, schedule, what is read, and how much of it is the student's own.

    Attributes:
        depth: drafts of a chain in trials.
    """

    aim: Aim = Aim()
    course: Course = Course()
    reading: Reading = Reading()
    own: Own = Own()
    depth: int = 5


class StudentStage:
    """Micro-batches by number, losses, trials.

    Args:
        answers: the target's; the last ``reading.held_out`` are not learned from.
        rounds: the answers of the student of now to what round n asks (from 1); None: never.
        keep: writes the model folder: (step, numbers of the last trial).

    Raises:
        GuardError: there is nothing to learn from.
    """

    name = "nano-lm"

    def __init__(
        self, student: Any, target: FrozenTarget, answers: Answers,
        rounds: Callable[[int], Answers] | None, plan: Plan, crew: Crew,
        keep: Callable[[int, Mapping[str, float]], None],
    ) -> None:  # fmt: skip
        self.steps, self._plan, self._crew = plan.course.steps, plan, crew
        self._target, self._keep, self._rounds = target, keep, rounds
        self._lesson = StudentLesson(student, target, plan.aim).to(target.device)
        self._wrapped: nn.Module = self._lesson
        if crew.size > 1:
            seats = [torch.cuda.current_device()] if target.device.type == "cuda" else None
            self._wrapped = DistributedDataParallel(self._lesson, device_ids=seats)
        self._reader = Reader(answers, target, plan.reading)
        self._round, self._own = 0, self._reader

    def module(self) -> nn.Module:
        """The student, with the running acceptance."""
        return self._lesson

    def trained(self) -> dict[str, nn.Parameter]:
        """All of the student, tied weights once."""
        return dict(self._lesson.student.named_parameters())

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self._plan.course.rate_at(step)

    def alone(self) -> AbstractContextManager[None]:
        """Within it gradients are not shared between processes."""
        wrapped: Any = self._wrapped
        return wrapped.no_sync() if self._crew.size > 1 else nullcontext()

    def loss(self, number: int) -> StepLoss:
        """Of micro-batch ``number``; the first of a round lets the student write what it reads.

        The first loss is not held to a ceiling: layers cut out of their stack may be very sure of
        what is wrong, and learn well.
        """
        rows = self.rows(number)
        self._lesson.train()
        with self._reader.autocast():
            loss, means, count = self._wrapped(rows, self._target.read(rows))
        guards.check_valid(count, number)
        told = dict(zip(COLUMNS, means.tolist(), strict=True))
        return StepLoss(loss, rows.count, {name: told[name] for name in TOLD})

    def rows(self, number: int) -> PackedRows:
        """A micro-batch; of those from round 1 on, a share of ``own.share`` is the student's."""
        own, a_step = self._plan.own, self._plan.course.accumulate * self._crew.size
        now = 0 if self._rounds is None else number // (a_step * own.refresh)
        if now == 0:
            return self._reader.rows(self._reader.members(number))
        self._enter(now)
        before = own.before(number) - own.before(a_step * own.refresh)
        if own.before(number + 1) == own.before(number):
            return self._reader.rows(self._reader.members(number - before))
        within = own.before(number) - own.before(now * a_step * own.refresh)
        return self._own.rows(self._own.members(within))

    @torch.no_grad()
    def trial(self) -> dict[str, float]:
        """Held-out greedy chain drafting, exactly as decoding would go, over all and by kind.

        ``tau`` counts the bonus; ``accepted`` is the share of tried drafts that are kept,
        ``overlap`` the most that can be accepted of one draft at temperature 1.
        """
        self._lesson.eval()
        tried: dict[str, list[Tried]] = defaultdict(list)
        for members in self._reader.tried:
            rows = self._reader.rows(members)
            with self._reader.autocast():
                told = self._lesson.trial(rows, self._target.read(rows), self._plan.depth)
            for one in told:
                kind = self._reader.sample(members[one.row][one.number]).kind
                tried[""].append(one)
                tried[f"/{kind}"].append(one)
        return {
            f"held_out_{name}{kind}": value
            for kind, some in sorted(tried.items())
            for name, value in _numbers(some).items()
        }

    def keep(self, step: int, trial: Mapping[str, float]) -> None:
        """Write the student's folder."""
        self._keep(step, trial)

    def check(self) -> dict[str, float]:
        """Look at the first micro-batch before any of it is learned.

        Raises:
            GuardError: pictures do not fit, nothing is learned, or the target did not write this.
        """
        return self._reader.check(self._crew.rank)

    def _enter(self, now: int) -> None:
        """Read this round's answers, which are written where they are not yet."""
        if now == self._round:
            return
        assert self._rounds is not None
        reading = msgspec.structs.replace(self._plan.reading, held_out=0)
        self._own, self._round = Reader(self._rounds(now), self._target, reading), now


def _numbers(tried: list[Tried]) -> dict[str, float]:
    tokens = sum(one.tokens for one in tried)
    overlap = sum(one.overlap for one in tried) / max(1, tokens)
    passes = [one.passes for one in tried if one.passes is not None]
    return {"overlap": overlap} | chain.numbers(passes)
