"""Progress for people: a bar with tokens a second and time left, or plain lines in a log."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

LOG = logging.getLogger(__name__)


class Ticker:
    """Counts steps and tokens; use as a context.

    Args:
        name: what is being done. total: steps in all. done: steps done before this run.
        every: steps between two plain lines.
    """

    def __init__(
        self, name: str, total: int, done: int, every: int, console: Console | None = None
    ) -> None:
        self._name, self._total, self._first, self._every = name, total, done, every
        self._began, self._tokens = time.monotonic(), 0
        self._bar: Progress | None = None
        console = console or Console(stderr=True)
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[told]}"), TimeRemainingColumn(), console=console,
            )  # fmt: skip

    def __enter__(self) -> Ticker:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(
                self._name, total=self._total, completed=self._first, told=""
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._bar is not None:
            self._bar.stop()

    @property
    def speed(self) -> float:
        """Tokens a second since the start."""
        return self._tokens / max(1e-9, time.monotonic() - self._began)

    def left(self, done: int) -> float:
        """Seconds to go, at the pace so far."""
        spent = time.monotonic() - self._began
        return spent / max(1, done - self._first) * (self._total - done)

    def tick(self, done: int, tokens: int, numbers: Mapping[str, float]) -> None:
        """One step more is done, over so many tokens; ``numbers`` are shown beside it."""
        self._tokens += tokens
        told = " ".join(f"{name} {value:.3g}" for name, value in numbers.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=done, told=f"{told}  {self.speed:.0f} tok/s")
        elif done % self._every == 0 or done == self._total:
            left = timedelta(seconds=round(self.left(done)))
            LOG.info("%s %d/%d %s  %.0f tok/s  %s left", self._name, done, self._total, told,
                     self.speed, left)  # fmt: skip
