"""A streaming client that times one request, and never raises for what a server does."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from mmspec_evals.serving.job import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec_evals.serving.job import Job

_LENGTH = 300  # characters of an error message that are kept


@dataclass(frozen=True, slots=True)
class Asking:
    """How every request of a run is put.

    Attributes:
        model: the name the server knows.
        chat: ``/chat/completions``; else ``/completions``.
        temperature, seed: of sampling; request i gets ``seed + i``.
        ignore_eos: go on to the token limit.
        extra: fields added to every body, such as ``speculation``.
    """

    model: str
    chat: bool = True
    temperature: float | None = 0.0
    seed: int | None = None
    ignore_eos: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Below the base URL."""
        return "chat/completions" if self.chat else "completions"

    def body(self, job: Job, index: int) -> dict[str, Any]:
        """What is posted for one job."""
        limit = "max_completion_tokens" if self.chat else "max_tokens"
        told = {"messages": job.messages} if self.chat else {"prompt": job.prompt}
        body: dict[str, Any] = {
            "model": self.model,
            **told,
            limit: job.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.seed is not None:
            body["seed"] = self.seed + index
        if self.ignore_eos:
            body["ignore_eos"] = True
        return body | dict(self.extra)


class _BrokenAnswerError(Exception):
    """The server answered, but not as it should."""


async def ask(http: httpx.AsyncClient, asking: Asking, job: Job, index: int = 0) -> Outcome:
    """Send one job and watch its answer; whatever goes wrong is in the outcome.

    Args:
        http: its base URL is the server's ``.../v1/``.
    """
    reading = _Reading(time.perf_counter())
    try:
        async with http.stream("POST", asking.path, json=asking.body(job, index)) as response:
            if response.status_code != 200:
                raise _BrokenAnswerError(_refusal(response.status_code, await response.aread()))
            async for line in response.aiter_lines():
                if line.startswith("data:") and reading.take(line[5:].strip()):
                    break
        reading.close()
    except _BrokenAnswerError as error:
        reading.outcome.error = str(error)[:_LENGTH] or "error"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reading.outcome.error = f"{type(error).__name__}: {error}"[:_LENGTH]
    return reading.outcome


class _Reading:
    """One stream while it is read."""

    def __init__(self, start: float) -> None:
        self.outcome = Outcome(start)
        self._last: float | None = None  # when text last came
        self._chunks = 0
        self._finished = False
        self._usage: Mapping[str, Any] | None = None

    def take(self, data: str) -> bool:
        """Read one event; whether it was the last."""
        now = time.perf_counter()
        if data == "[DONE]":
            return True
        try:
            event = json.loads(data)
            choices = event.get("choices") or []
            choice = choices[0] if choices else None
            if event.get("error"):
                raise _BrokenAnswerError(_complaint(event))
            self._usage = event.get("usage") or self._usage
            if choice is not None:
                self._chunk(choice, now)
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise _BrokenAnswerError(f"a chunk that cannot be read: {data}") from error
        return False

    def close(self) -> None:
        """Nothing more will come."""
        outcome = self.outcome
        if not self._finished:
            raise _BrokenAnswerError("the stream ended before the answer did")
        if self._last is None:  # an answer without text: its end is its first word
            outcome.ttft = outcome.latency
        usage = self._usage or {}
        outcome.prompt_tokens = int(usage.get("prompt_tokens") or 0)
        outcome.counted = usage.get("completion_tokens") is not None
        outcome.output_tokens = int(usage.get("completion_tokens") or 0)
        if not outcome.counted:
            outcome.output_tokens = self._chunks

    def _chunk(self, choice: dict[str, Any], now: float) -> None:
        outcome = self.outcome
        delta = choice.get("delta") or choice
        text = delta.get("content") or delta.get("text") or ""
        if text or delta.get("reasoning_content"):
            if self._last is None:
                outcome.ttft = now - outcome.start
            else:
                outcome.gaps.append(now - self._last)
            self._last = now
            self._chunks += 1
            outcome.text += text
        self._finished = self._finished or choice.get("finish_reason") is not None
        outcome.latency = now - outcome.start


def _refusal(status: int, body: bytes) -> str:
    try:
        return f"HTTP {status}: {_complaint(json.loads(body))}"
    except (ValueError, AttributeError):
        return f"HTTP {status}: {body[:_LENGTH].decode('utf-8', 'replace')}"


def _complaint(event: dict[str, Any]) -> str:
    error = event.get("error")
    return str(error.get("message") if isinstance(error, dict) else error)
