"""Flight: what the engine holds for one sequence, from submission to its last Delta."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmspec.core.drafter import Budget
from mmspec.core.request import Delta
from mmspec.core.sampling import stop_tokens

if TYPE_CHECKING:
    import numpy as np

    from mmspec.core.drafter import Facts
    from mmspec.core.request import FinishReason, TokenLogprob
    from mmspec.core.sequence import Sequence
    from mmspec.engine.control import Controller
    from mmspec.engine.stats import Tally
    from mmspec.model.prefill import Prefill


@dataclass(frozen=True, slots=True)
class Flight:
    """One sequence with its counts, its prompt on the way in, and how far it may go.

    Attributes:
        facts: of the target it runs on.
        scored: log-probabilities of the prompt's tokens that nobody has been told yet.
    """

    sequence: Sequence
    tally: Tally
    prefill: Prefill
    facts: Facts
    scored: list[TokenLogprob] = field(default_factory=list)

    @property
    def scores(self) -> int | None:
        """How many likely tokens to list beside each of the prompt's own; None: do not score.

        The choices of a request share its prompt: the first one scores it for all.
        """
        asked = self.sequence.request.sampling.prompt_logprobs
        return asked if self.sequence.choice == 0 else None

    def take_scored(self) -> tuple[TokenLogprob, ...] | None:
        """What has been scored since the last call."""
        taken = tuple(self.scored) or None
        self.scored.clear()
        return taken

    def news(
        self,
        reason: FinishReason | None,
        decided: np.ndarray | None = None,
        likely: tuple[TokenLogprob, ...] | None = None,
        error: str | None = None,
    ) -> Delta:
        """What one step decided, or why there is no more of it: with a reason, the last news."""
        sequence = self.sequence
        return Delta(
            request_id=sequence.request.id,
            choice=sequence.choice,
            tokens=() if decided is None else tuple(decided.tolist()),
            logprobs=likely,
            prompt_logprobs=self.take_scored(),
            finish_reason=reason,
            seed=sequence.seed,
            cached_tokens=sequence.reused,
            report=self.tally.report() if reason is not None else None,
            error=error,
        )

    def progress(self) -> list[Delta]:
        """How much of the prompt is read, where that was asked for; the first choice says it."""
        sequence = self.sequence
        if not sequence.request.progress or sequence.choice:
            return []
        read = Delta(
            sequence.request.id, 0, (),
            seed=sequence.seed, cached_tokens=sequence.reused, prefilled=sequence.cached,
        )  # fmt: skip
        return [read]

    @property
    def limit(self) -> int:
        """Most tokens the sequence may say."""
        room = self.facts.context - self.sequence.prompt_length
        asked = self.sequence.request.sampling.max_tokens
        return room if asked is None else min(room, asked)

    @property
    def remaining(self) -> int:
        """Tokens it may still say."""
        return self.limit - (len(self.sequence) - self.sequence.prompt_length)

    def budget(self, controller: Controller, batch: int) -> Budget:
        """The controller's word, within what may still be said."""
        nodes, depth = controller.budget(self.sequence, batch)
        depth = min(depth, self.remaining - 1)
        return Budget(nodes, depth) if depth > 0 else Budget(1, 0)

    def reason(self, last: int) -> FinishReason | None:
        """Why the text ends after the token ``last``, if it does."""
        if last in stop_tokens(self.sequence.request.sampling, self.facts.stop_tokens):
            return "stop"
        return "length" if self.remaining <= 0 else None
