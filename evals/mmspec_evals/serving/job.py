"""One request of a benchmark and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Job:
    """What to ask.

    Attributes:
        messages: the conversation, in OpenAI's shape.
        prompt: its text alone, for ``/v1/completions``; None where pictures belong to it.
        max_tokens: most new tokens.
    """

    messages: list[dict[str, Any]]
    prompt: str | None
    max_tokens: int


@dataclass(slots=True)
class Outcome:
    """What a client saw of one request; seconds, by one clock.

    Attributes:
        error: why it failed; empty when it did not.
        start: when it was sent. queued: how long it waited here for a free connection before.
        ttft: from ``start`` to the first text. latency: to the last chunk of the answer.
        gaps: between chunks with text; several tokens may share a chunk.
        prompt_tokens, output_tokens: as the server counts them.
        counted: whether the server did; else ``output_tokens`` counts chunks, which are fewer.
    """

    start: float
    queued: float = 0.0
    error: str = ""
    ttft: float = 0.0
    latency: float = 0.0
    gaps: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    output_tokens: int = 0
    counted: bool = True
    text: str = ""

    @property
    def ok(self) -> bool:
        """Whether the answer came whole."""
        return not self.error

    @property
    def tpot(self) -> float | None:
        """Seconds a token after the first; None for a single token."""
        later = self.output_tokens - 1
        return (self.latency - self.ttft) / later if later > 0 else None
