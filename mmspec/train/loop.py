"""The training loop: one stage at a time, resumable after a kill, every number on record."""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepLoss:
    """One step's differentiable loss, the tokens (or patches) it read, and numbers to log."""

    loss: Tensor
    tokens: int
    metrics: Mapping[str, float] = field(default_factory=dict)


class Stage(Protocol):
    """A stretch of training whose every step is a pure function of (weights, step)."""

    name: str
    steps: int

    def module(self) -> nn.Module:
        """The module whose state dict is kept."""

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters this stage moves, by name."""

    def rate(self, step: int) -> float:
        """Learning rate of a step."""

    def loss(self, step: int) -> StepLoss:
        """Forward of a step."""


class Optimizer(Protocol):
    """What moves a stage's parameters, whose state can be kept."""

    parameters: dict[str, nn.Parameter]

    def step(self, rate: float) -> float:
        """Apply and clear the gradients at a learning rate; their norm."""

    def state(self) -> dict[str, Any]:
        """Everything needed to go on."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over a state; strict."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to log and to save, in steps."""

    log: int = 20
    save: int = 200


def run(stage: Stage, folder: Path, pace: Pace, optimizer: Optimizer) -> None:
    """Train `stage` to its last step, going on from `folder`/NAME.pt when that exists."""
    path = folder / f"{stage.name}.pt"
    start = resume(stage, path, optimizer) if path.exists() else 0
    if start == 0:
        save(stage, path, optimizer, 0)
    began, tokens = time.monotonic(), 0
    seen: dict[str, list[float]] = defaultdict(list)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        line = bar.add_task(stage.name, total=stage.steps, completed=start)
        for step in range(start, stage.steps):
            told = stage.loss(step)
            told.loss.backward()
            norm = optimizer.step(stage.rate(step))
            tokens += told.tokens
            done = step + 1
            for name, value in {"loss": float(told.loss.detach()), **told.metrics}.items():
                seen[name].append(value)
            bar.update(line, completed=done)
            if done % pace.log == 0 or done == stage.steps:
                seconds = time.monotonic() - began
                left = seconds / (done - start) * (stage.steps - done)
                row = {
                    "stage": stage.name, "step": done, "of": stage.steps,
                    "norm": round(norm, 3), "rate": stage.rate(step),
                    "tokens_per_s": round(tokens / seconds), "left_s": round(left),
                    **{name: round(fmean(values), 4) for name, values in seen.items()},
                }  # fmt: skip
                seen.clear()
                record(folder / "metrics.jsonl", row)
            if done % pace.save == 0 or done == stage.steps:
                save(stage, path, optimizer, done)


def finished(folder: Path, name: str, steps: int) -> bool:
    """Whether the stage's checkpoint says that it reached its last step."""
    path = folder / f"{name}.pt"
    if not path.exists():
        return False
    return int(torch.load(path, map_location="cpu", weights_only=True)["step"]) >= steps


def resume(stage: Stage, path: Path, optimizer: Optimizer) -> int:
    """Load weights and optimizer; returns the number of steps already done. Strict."""
    kept = torch.load(path, map_location="cpu", weights_only=True)
    stage.module().load_state_dict(kept["model"], strict=True)
    optimizer.load(kept["optimizer"])
    LOG.info("%s goes on from step %d", stage.name, kept["step"])
    return int(kept["step"])


def save(stage: Stage, path: Path, optimizer: Optimizer, step: int) -> None:
    """Write a checkpoint whole or not at all."""
    draft = path.with_suffix(".tmp")
    state = {"step": step, "model": stage.module().state_dict(), "optimizer": optimizer.state()}
    torch.save(state, draft)
    draft.replace(path)


def record(path: Path, row: Mapping[str, object]) -> None:
    """Append one JSON line and log it."""
    text = json.dumps(row)
    with path.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    LOG.info("%s", text)
