"""The loop that trains a drafter: accumulation, data parallel, guards, trials, exact resuming.

A micro-batch is a pure function of its number; step s of a run with A micro-batches a step on W
processes reads numbers (s A + a) W + rank. State is weights, buffers and optimizer, so a resumed
run goes on bit for bit.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean
from typing import TYPE_CHECKING, Protocol

import msgspec
import torch
import torch.distributed as dist

from mmspec.train import guards, loop
from mmspec.train.ticker import Ticker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mmspec.train.loop import Optimizer

PATIENCE = timedelta(days=1)  # of processes that wait while the first one writes answers


class Course(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long, how fast, and how often to look.

    Attributes:
        accumulate: micro-batches a process reads before each step.
        rate: learning rate after ``warmup`` steps; a straight line leads to ``rate_end``.
        log, save, trial: steps between two lines, checkpoints, and looks at held-out text.
    """

    steps: int = 1000
    accumulate: int = 1
    rate: float = 1e-3
    rate_end: float = 1e-4
    warmup: int = 50
    decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 0.5
    log: int = 20
    save: int = 200
    trial: int = 200

    def rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        line = self.rate + (self.rate_end - self.rate) * step / max(1, self.steps)
        return line * min(1.0, (step + 1) / max(1, self.warmup))


@dataclass(frozen=True, slots=True)
class Crew:
    """This process among those that train together; alone it is 0 of 1."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def mean(self, value: float) -> float:
        """Mean of a number over all processes."""
        if self.size == 1:
            return value
        told: list[float] = [0.0] * self.size
        dist.all_gather_object(told, value)
        return fmean(told)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


def join_crew(device: str) -> Crew:
    """Become one of ``torchrun``'s processes (WORLD_SIZE, RANK, LOCAL_RANK), or stay alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Crew()
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    return Crew(dist.get_rank(), size)


class Lesson(loop.Stage, Protocol):
    """A stage whose loss is of a micro-batch, and which can be tried on held-out text."""

    def alone(self) -> AbstractContextManager[None]:
        """Within it, forward and backward leave gradients unshared between processes."""

    def trial(self) -> Mapping[str, float]:
        """Numbers on held-out text; those called ``NAME/KIND`` are recorded and not shown."""

    def keep(self, step: int, trial: Mapping[str, float]) -> None:
        """Write the drafter's checkpoint folder."""


def run(
    lesson: Lesson, optimizer: Optimizer, course: Course, folder: Path, crew: Crew = Crew()
) -> Mapping[str, float]:
    """Train to the last step, going on from ``folder``/NAME.pt; returns the last trial's numbers.

    Raises:
        GuardError: the first step shows that the run would be in vain.
        FloatingPointError: a loss or a gradient is no number.
    """
    path = folder / f"{lesson.name}.pt"
    start = loop.resume(lesson, path, optimizer) if path.exists() else 0
    seen: dict[str, list[float]] = defaultdict(list)
    tried: Mapping[str, float] = {}
    with ExitStack() as stack:
        ticker = Ticker(lesson.name, course.steps, start, course.log)
        if crew.leads:
            stack.enter_context(ticker)
        for step in range(start, course.steps):
            tokens = _learn(lesson, course, crew, step, seen)
            seen["norm"].append(optimizer.step(lesson.rate(step)))
            done = step + 1
            last = done == course.steps
            tries = last or done % course.trial == 0
            if tries:
                tried = lesson.trial()
            if crew.leads:
                whole = {name: value for name, value in tried.items() if "/" not in name}
                ticker.tick(done, tokens, {"loss": seen["loss"][-1], **whole})
            if tries or done % course.log == 0:
                row = {"step": done, "rate": lesson.rate(step)} | _means(seen, crew)
                row |= {"tokens_per_s": ticker.speed, "left_s": ticker.left(done)}
                if crew.leads:
                    loop.record(folder / "metrics.jsonl", row | (dict(tried) if tries else {}))
            if crew.leads and (last or done % course.save == 0):
                loop.save(lesson, path, optimizer, done)
                lesson.keep(done, tried)
    crew.wait()
    return tried


def _learn(
    lesson: Lesson, course: Course, crew: Crew, step: int, seen: dict[str, list[float]]
) -> int:
    """Forward and backward of one step's share; returns the tokens read by all processes."""
    tokens = 0
    for part in range(course.accumulate):
        waits = part + 1 < course.accumulate and crew.size > 1
        with lesson.alone() if waits else nullcontext():
            told = lesson.loss((step * course.accumulate + part) * crew.size + crew.rank)
            loss = told.loss.item()
            guards.check_finite(loss, step)
            (told.loss / course.accumulate).backward()
        tokens += told.tokens * crew.size
        for name, value in {"loss": loss, **told.metrics}.items():
            seen[name].append(value)
    return tokens


def _means(seen: dict[str, list[float]], crew: Crew) -> dict[str, float]:
    """Means over steps and processes; forgets what it has told."""
    means = {name: crew.mean(fmean(values)) for name, values in seen.items()}
    seen.clear()
    return means
