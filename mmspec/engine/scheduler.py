"""Who runs in this step. No phases: a sequence has pending tokens, one or many."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmspec.core.errors import CacheFullError, OverloadedError
from mmspec.engine.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mmspec.core.config import EngineConfig
    from mmspec.core.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Plan:
    """Prefill chunks as (sequence, stop), and the sequences whose root alone is pending."""

    chunks: list[tuple[Sequence, int]]
    decoding: list[Sequence]


class Scheduler:
    """First come, first served; prefill runs beside decoding within a budget of rows.

    Args:
        config: limits. admit: gives a sequence its memory; raises ``CacheFullError`` to wait.
        ready: by sequence id, whether its prompt can be read: its pictures are encoded.
        heard: whether its next token can be drawn: a drafter it must wait for has read it.
    """

    def __init__(
        self,
        config: EngineConfig,
        admit: Callable[[Sequence], None],
        ready: Callable[[str], bool],
        heard: Callable[[Sequence], bool] = lambda _: True,
    ) -> None:
        self._config = config
        self._admit = admit
        self._ready, self._heard = ready, heard
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.pace = Pace(config.prefill_share)

    def add(self, sequences: list[Sequence]) -> None:
        """Queue the choices of one request.

        Raises:
            OverloadedError: the queue is full.
        """
        if len(self.waiting) + len(sequences) > self._config.max_queue:
            raise OverloadedError("too many requests are waiting")
        self.waiting.extend(sequences)

    def plan(self) -> Plan:
        """Admit who fits, then share out the rows of one step.

        A prompt that takes several steps waits while reading owes time to those who stream.
        """
        self._admit_waiting()
        decoding = [one for one in self.running if one.pending == 1 and self._heard(one)]
        rows = self._config.step_tokens - len(decoding)
        chunks: list[tuple[Sequence, int]] = []
        for sequence in self.running:
            if sequence.pending == 1 or not self._ready(sequence.id):
                continue
            if decoding and sequence.pending > self._config.step_tokens and not self.pace.due:
                continue
            stop = self._chunk_end(sequence)
            # The first of those that may run does, whatever it takes: prefill cannot starve.
            if chunks and stop - sequence.cached > rows:
                break
            rows -= stop - sequence.cached
            chunks.append((sequence, stop))
        return Plan(chunks, decoding)

    def remove(self, gone: Iterable[Sequence]) -> None:
        """Take sequences out, running or waiting."""
        ids = {sequence.id for sequence in gone}
        self.running = [sequence for sequence in self.running if sequence.id not in ids]
        self.waiting = deque(sequence for sequence in self.waiting if sequence.id not in ids)

    def of(self, request_id: str) -> list[Sequence]:
        """All choices of a request that are still here."""
        everyone = (*self.running, *self.waiting)
        return [sequence for sequence in everyone if sequence.request.id == request_id]

    def _admit_waiting(self) -> None:
        for sequence in list(self.waiting):
            if len(self.running) >= self._config.max_sequences:
                return
            if sequence.choice > 0 and self._first_choice_prefills(sequence):
                continue  # its prompt will be in the prefix cache in a moment
            try:
                self._admit(sequence)
            except CacheFullError:
                return  # somebody running will finish: admission reserved their worst case
            self.waiting.remove(sequence)
            self.running.append(sequence)

    def _first_choice_prefills(self, sequence: Sequence) -> bool:
        return any(
            other.request is sequence.request and other.pending > 1 for other in self.running
        )

    def _chunk_end(self, sequence: Sequence) -> int:
        """End of the next prefill chunk: on the grid, and never the prompt's last token."""
        grid = self._config.chunk
        return min((sequence.cached // grid + 1) * grid, len(sequence) - 1)
