"""From the engine's tokens to what a client is told, choice by choice.

Streaming or not, chat or completion: all read the same news, so they cannot disagree.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmspec.core.errors import EngineFaultError
from mmspec.core.predicted import Predicted
from mmspec.core.request import SpeculationReport
from mmspec.model.detokenize import Pieces, TextStream
from mmspec.serve.reply import CompletionDetails, PromptDetails, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mmspec.core.request import Delta, Request, Sampling, TokenLogprob
    from mmspec.serve.ticket import Ticket

_REPORT_SECONDS = 5.0
_FAULTS = ("error", "cancelled")  # nobody cancels what is still being read


@dataclass(frozen=True, slots=True)
class News:
    """What one choice has to say: text that is certain, with the tokens it came from.

    Attributes:
        index: the choice, over all prompts of the call.
        text: whole characters, no piece of a stop string.
        finish_reason: set once, on the last news of a choice.
        stop_reason: the stop string or stop token id that ended it, if one did.
    """

    index: int
    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: str | None = None
    stop_reason: str | int | None = None


@dataclass(slots=True)
class Choice:
    """One choice being told; tokens wait here until their text is certain."""

    index: int
    stream: TextStream
    sampling: Sampling
    finish_reason: str | None = None
    report: SpeculationReport | None = None
    seed: int = 0
    cached: int = 0
    scored: tuple[TokenLogprob, ...] = ()
    predicted: Predicted | None = None
    _tokens: list[int] = field(default_factory=list)
    _logprobs: list[TokenLogprob] = field(default_factory=list)

    def take(self, deltas: list[Delta]) -> News | None:
        """Read one step's news, or several steps'; None when there is nothing to say (yet).

        Raises:
            EngineFaultError: the engine gave this choice up.
        """
        over = self.finish_reason is not None
        text = ""
        reason: str | int | None = None
        for delta in deltas:
            self.seed, self.cached = delta.seed, max(self.cached, delta.cached_tokens)
            self.report = delta.report or self.report
            self.scored = delta.prompt_logprobs or self.scored
            if self.finish_reason is not None:
                continue  # steps made before the engine learnt that a stop string had completed
            text += self._read(delta)
            if self.stream.stopped is None and delta.finish_reason is not None:
                text += self.stream.finish()
                self.finish_reason = delta.finish_reason
                if delta.finish_reason in _FAULTS:
                    raise EngineFaultError(delta.error or "the engine gave the request up")
            if self.stream.stopped is not None:
                self.finish_reason, reason = "stop", self.stream.stopped
            elif self.finish_reason == "stop" and self._tokens:
                last = self._tokens[-1]
                reason = last if last in self.sampling.stop_token_ids else None
        return None if over else self._release(text, reason)

    def _read(self, delta: Delta) -> str:
        before = self.stream.count
        text = self.stream.push(delta.tokens)
        visible = self.stream.count - before  # less than all of them when a stop string completed
        self._tokens.extend(delta.tokens[:visible])
        if self.predicted is not None:
            self.predicted.push(delta.tokens[:visible])
        self._logprobs.extend((delta.logprobs or ())[:visible])
        return text

    def _release(self, text: str, reason: str | int | None) -> News | None:
        if not text and self.finish_reason is None:
            return None
        tokens, logprobs = tuple(self._tokens), tuple(self._logprobs)
        self._tokens.clear()
        self._logprobs.clear()
        return News(self.index, text, tokens, logprobs, self.finish_reason, reason)


class Answer:
    """All choices of one call.

    Args:
        ticket: where the news comes from.
        requests: one a prompt, all with the same sampling.
        pieces: reads tokens.
        skip_special: leave special tokens out of the text.
        reports: wait for the engine's report also of choices that a stop string ended.

    Attributes:
        prefilled: tokens of the prompt that are read, where a request asks to be told.
        first_news: when the first word came (``time.monotonic``). last_news: the latest.
    """

    def __init__(
        self,
        ticket: Ticket,
        requests: list[Request],
        pieces: Pieces,
        skip_special: bool = True,
        reports: bool = False,
    ) -> None:
        sampling = requests[0].sampling
        self._ticket = ticket
        self._reports = reports
        self._n = sampling.n
        self._first = {request.id: i * sampling.n for i, request in enumerate(requests)}
        self._prompt_tokens = sum(len(request.prompt.ids) for request in requests)
        self._image_tokens = sum(m.length for request in requests for m in request.prompt.media)
        self.choices = [
            Choice(
                i, TextStream(pieces, sampling.stop, sampling.include_stop, skip_special), sampling
            )
            for i in range(len(requests) * sampling.n)
        ]
        for choice in self.choices:
            prediction = requests[choice.index // sampling.n].prediction
            choice.predicted = Predicted(prediction) if len(prediction) else None
        self.prefilled = 0
        self.started = time.monotonic()
        self.first_news: float | None = None
        self.last_news: float = self.started

    def complete(self) -> bool:
        """Whether every choice has finished."""
        return all(choice.finish_reason is not None for choice in self.choices)

    async def news(self, heartbeat: float | None = None) -> AsyncIterator[list[News]]:
        """What the choices have to say, until all have finished; then everything is freed.

        Yields an empty list after every ``heartbeat`` seconds without news, and when the prompt has
        been read further.

        Raises:
            EngineFaultError: nothing more will come and not all is told.
        """
        try:
            while not self.complete():
                if heartbeat is not None and not await self._ticket.wait(heartbeat):
                    yield []
                    continue
                read = self.prefilled
                told = self._read(await self._ticket.take())
                if self.complete() and self._reports:
                    await self._last_words()
                if told or self.prefilled > read:
                    yield told
        finally:
            self._ticket.cancel()

    async def first(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the first news, so that an early failure keeps its status.

        Raises:
            EngineFaultError: the engine gave up before its first word.
        """
        if await self._ticket.wait(seconds):
            for delta in self._ticket.peek():
                if delta.finish_reason in _FAULTS:
                    raise EngineFaultError(delta.error or "the engine gave the request up")

    def usage(self) -> Usage:
        """Tokens so far, as the client sees them; a prompt counts once however many choices."""
        completion = sum(choice.stream.count for choice in self.choices)
        predicted = [choice.predicted for choice in self.choices if choice.predicted is not None]
        per_prompt = self.choices[:: len(self.choices) // len(self._first)]
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=completion,
            total_tokens=self._prompt_tokens + completion,
            prompt_tokens_details=PromptDetails(
                cached_tokens=sum(choice.cached for choice in per_prompt),
                image_tokens=self._image_tokens,
            ),
            completion_tokens_details=CompletionDetails(
                accepted_prediction_tokens=sum(one.accepted for one in predicted),
                rejected_prediction_tokens=sum(one.rejected for one in predicted),
            ),
        )

    def prefill(self) -> dict[str, int]:
        """How far the prompt is read: tokens, of how many, and how many of them were known."""
        cached = max(choice.cached for choice in self.choices)
        return {"tokens": self.prefilled, "total": self._prompt_tokens, "cached": cached}

    def scored(self, index: int) -> tuple[TokenLogprob, ...]:
        """Log-probabilities of a choice's prompt; the first choice of a prompt has them for all."""
        return self.choices[index - index % self._n].scored

    def report(self) -> dict[str, object]:
        """``mmspec`` of the answer: the seed to replay it with and what speculation did."""
        reports = [choice.report for choice in self.choices if choice.report is not None]
        return {"seed": self.choices[0].seed, "speculation": together(reports)}

    async def _last_words(self) -> None:
        """Wait for the reports of choices that a stop string ended before the engine knew."""
        while any(choice.report is None for choice in self.choices):
            if not await self._ticket.wait(_REPORT_SECONDS):
                return
            self._read(await self._ticket.take())

    def _read(self, deltas: list[Delta]) -> list[News]:
        self.prefilled = max([self.prefilled, *(delta.prefilled for delta in deltas)])
        if any(not delta.prefilled for delta in deltas):
            self.last_news = time.monotonic()
            self.first_news = self.first_news or self.last_news
        by_choice: dict[tuple[str, int], list[Delta]] = {}
        for delta in deltas:
            by_choice.setdefault((delta.request_id, delta.choice), []).append(delta)
        told = []
        for (request_id, number), fresh in by_choice.items():
            choice = self.choices[self._first[request_id] + number]
            news = choice.take(fresh)
            if news is not None:
                told.append(news)
                if choice.stream.stopped is not None:
                    self._ticket.stop(request_id, number)
        return told


def together(reports: list[SpeculationReport]) -> SpeculationReport | None:
    """The reports of several choices as one: counts add up, tau is the mean over all rounds."""
    if len(reports) < 2:
        return reports[0] if reports else None
    rounds = sum(report.rounds for report in reports)
    by_source: dict[str, tuple[int, int]] = {}
    for report in reports:
        for source, (drafted, accepted) in report.by_source.items():
            before = by_source.get(source, (0, 0))
            by_source[source] = (before[0] + drafted, before[1] + accepted)
    return SpeculationReport(
        rounds=rounds,
        drafted=sum(report.drafted for report in reports),
        accepted=sum(report.accepted for report in reports),
        tau=sum(report.tau * report.rounds for report in reports) / rounds if rounds else 0.0,
        by_source=by_source,
        off_reasons={k: v for report in reports for k, v in report.off_reasons.items()},
        route=reports[0].route,
        lossless=all(report.lossless for report in reports),
        rag_mode=reports[0].rag_mode,
        eta=reports[0].eta,
    )
