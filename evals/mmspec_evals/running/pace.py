"""How long what is left will take: measured seconds of each method per prompt and output token."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mmspec_evals.running.order import Cell
    from mmspec_evals.trace import Sample

PROMPT_RATE, OUTPUT_RATE = 1000.0, 50.0  # tokens a second, assumed until something is measured
TOKENS_PER_CHARACTER = 0.3


@dataclass(slots=True)
class Sums:
    """Of some samples: characters asked, tokens read and written, seconds of both, cells."""

    characters: int = 0
    prompt: int = 0
    first: float = 0.0
    output: int = 0
    decode: float = 0.0
    cells: int = 0


class Pace:
    """Learns from samples what the cells that are left will take.

    Args:
        cells: all that will be measured. sizes: characters of each document, by task and id.
        caps: most new tokens of a document, by task.
    """

    def __init__(
        self,
        cells: Iterable[Cell],
        sizes: Mapping[tuple[str, str], int],
        caps: Mapping[str, int],
    ) -> None:
        self._sizes = sizes
        self._caps = caps
        self._methods: dict[str, Sums] = defaultdict(Sums)
        self._tasks: dict[str, Sums] = defaultdict(Sums)
        self._all = Sums()
        self._left: dict[tuple[str, str], Sums] = defaultdict(Sums)
        for cell in cells:
            left = self._left[cell.arm.method, cell.task]
            left.cells += 1
            left.characters += sizes[cell.task, cell.doc.id]

    def learn(self, cell: Cell, sample: Sample) -> None:
        """Cross a cell off, and take its tokens and seconds into account."""
        size = self._sizes[cell.task, cell.doc.id]
        left = self._left[cell.arm.method, cell.task]
        left.cells -= 1
        left.characters -= size
        if sample.error is not None:
            return
        for sums in (self._methods[cell.arm.method], self._tasks[cell.task], self._all):
            sums.cells += 1
            sums.characters += size
            for trace in sample.traces:
                seconds = trace.seconds
                first = seconds.total if seconds.first is None else seconds.first
                sums.prompt += trace.prompt_tokens
                sums.first += first
                sums.output += trace.tokens
                sums.decode += seconds.total - first

    def seconds(self) -> float:
        """What is left will take this long, by what is known."""
        total = 0.0
        for (method, name), left in self._left.items():
            speed, task = self._methods.get(method, self._all), self._tasks.get(name, Sums())
            sized = task if task.prompt else self._all
            density = sized.prompt / sized.characters if sized.prompt else TOKENS_PER_CHARACTER
            answer = task.output / task.cells if task.cells else self._caps[name]
            read = speed.first / speed.prompt if speed.prompt else 1 / PROMPT_RATE
            write = speed.decode / speed.output if speed.output else 1 / OUTPUT_RATE
            total += left.characters * density * read + left.cells * answer * write
        return total


def span(seconds: float) -> str:
    """A duration one can read.

    >>> span(3725), span(42.4)
    ('1:02:05', '0:42')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
