"""Asking the judge: one chat completion of any OpenAI-compatible server."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx

TRIES = 3
_BUSY = (408, 409, 425, 429, 500, 502, 503, 504)


class JudgeError(Exception):
    """The judge gave no reply; the message says why."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A model at an address.

    Attributes:
        url: up to and including ``/v1``. key: sent as a bearer token, never written anywhere.
        seconds: allowed for one reply. pause: before trying again, doubled each time.
    """

    url: str
    model: str
    key: str | None = None
    temperature: float = 0.2
    max_tokens: int = 1024
    seconds: float = 120.0
    pause: float = 1.0

    def ask(self, system: str, text: str) -> str:
        """The reply to one message.

        Raises:
            JudgeError: the server refuses, fails several times, or answers in another shape.
        """
        body = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": text},
            ],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        address = self.url.rstrip("/") + "/chat/completions"
        trouble = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                reply = httpx.post(address, json=body, headers=headers, timeout=self.seconds)
            except httpx.HTTPError as error:
                trouble = f"{type(error).__name__}: {error}"
                continue
            if reply.status_code == 200:
                return _text(reply)
            trouble = f"status {reply.status_code}: {reply.text[:200]}"
            if reply.status_code not in _BUSY:
                break
        raise JudgeError(trouble)


def _text(reply: httpx.Response) -> str:
    try:
        told: Any = reply.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise JudgeError(f"no chat completion: {reply.text[:200]}") from error
    if not isinstance(told, str):
        raise JudgeError(f"no text in the chat completion: {reply.text[:200]}")
    return told
