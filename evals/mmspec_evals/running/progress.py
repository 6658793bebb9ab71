"""What a user sees of a run: one bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from mmspec_evals.running.pace import span

if TYPE_CHECKING:
    from mmspec_evals.running.order import Cell
    from mmspec_evals.running.pace import Pace
    from mmspec_evals.trace import Sample

EVERY = 10.0  # seconds between lines where there is no terminal


class Progress:
    """Follows an executor; used as a context.

    Args:
        total: cells to measure. stream: where to show it; None takes stderr.
        every: seconds between plain lines.
    """

    def __init__(
        self, total: int, pace: Pace, stream: TextIO | None = None, every: float = EVERY
    ) -> None:
        self._total = total
        self._pace = pace
        self._stream = sys.stderr if stream is None else stream
        self._every = every
        self._done = 0
        self._errors = 0
        self._shown = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self._stream.isatty() and self._total:
            self._bar, self._task = _bar(self._stream, self._total)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, cell: Cell) -> None:
        """This one is about to be measured."""
        if self._bar is not None:
            said = f"{cell.task} {cell.arm.label}"
            self._bar.update(self._task, description=said, refresh=True)

    def end(self, cell: Cell, sample: Sample) -> None:
        """It was, and stands on disk."""
        self._done += 1
        self._errors += sample.error is not None and sample.error_kind != "unsupported"
        self._pace.learn(cell, sample)
        left = span(self._pace.seconds())
        said = describe(sample) + (f", {self._errors} failed" if self._errors else "")
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, said=said, left=left, refresh=True)
        elif time.monotonic() - self._shown >= self._every or self._done == self._total:
            self._shown = time.monotonic()
            place = f"{self._done}/{self._total}"
            line = f"{place} {cell.task} {cell.arm.label}: {said}; {left} left"
            print(line, file=self._stream, flush=True)


def describe(sample: Sample) -> str:
    """Speed, tau and acceptance of a sample, or why there is none."""
    if sample.error is not None:
        return (sample.error_kind or "failed") + ": " + sample.error.split("\n")[0][:60]
    tokens = sum(trace.tokens for trace in sample.traces)
    seconds = sum(trace.seconds.total for trace in sample.traces)
    said = [f"{tokens / seconds:.1f} tok/s" if seconds else f"{tokens} tokens"]
    passes = [trace.passes for trace in sample.traces if trace.passes]
    if passes and len(passes) == len(sample.traces):
        said.append(f"tau {tokens / sum(passes):.2f}")
    rounds = [trace.rounds for trace in sample.traces if trace.rounds is not None]
    proposed = sum(sum(one.proposed) for one in rounds)
    if proposed:
        accepted = sum(sum(one.accepted) for one in rounds)
        said.append(f"{accepted / proposed:.0%} of drafted kept")
    return ", ".join(said)


def _bar(stream: TextIO, total: int) -> tuple[Any, Any]:
    from rich.console import Console  # noqa: PLC0415  # only where there is a terminal
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]} left"),
        TextColumn("{task.fields[said]}"),
        console=Console(file=stream),
        auto_refresh=False,  # a thread that draws would take its time from what is measured
    )
    return bar, bar.add_task("loading", total=total, said="", left="?")
