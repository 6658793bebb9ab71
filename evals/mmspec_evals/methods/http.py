"""Any OpenAI-compatible server behind a URL, one streamed request at a time."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import httpx
import msgspec
import torch

from mmspec_evals.errors import PlanError
from mmspec_evals.method import UnsupportedError
from mmspec_evals.methods.ending import trim_rounds
from mmspec_evals.methods.meter import Meter
from mmspec_evals.methods.sse import ServerError, chunks, complaint
from mmspec_evals.trace import Rounds, Seconds, Trace

if TYPE_CHECKING:
    from mmspec_evals.method import Case

_REFUSED = (400, 404, 413, 415, 422)  # the request is at fault; anything else is the server
_PROBE_SECONDS = 10.0


class UrlMethod:
    """A server that is already running.

    Its caches cannot be cleared from outside; vLLM is told to keep each request apart, others may
    remember prompts that came twice.

    Args:
        url: ``http://host:port/v1``, with ``#model`` when the server has several.
        seconds: patience for one answer. key: bearer token.
    """

    def __init__(self, url: str, *, seconds: float = 600.0, key: str | None = None) -> None:
        base, _, model = url.partition("#")
        self._base = base.rstrip("/")
        try:
            netloc = httpx.URL(self._base).netloc.decode()
        except httpx.InvalidURL as error:
            raise PlanError(f"not a URL: {url}") from error
        if not netloc or not self._base.startswith(("http://", "https://")):
            raise PlanError(f"not a URL: {url}; write openai:http://host:port/v1#model")
        label = f"openai:{netloc}" + (f"#{model}" if model else "")
        self.name = re.sub(r"[^\w.:#-]", "_", label)
        self._asked_model = model or None
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        patience = httpx.Timeout(seconds, connect=_PROBE_SECONDS)
        self._client = httpx.Client(headers=headers, timeout=patience)

    @cached_property
    def _server(self) -> _Server:
        """What answers there; asked once.

        Raises:
            PlanError: nobody, or nobody who has the model.
        """
        return _probe(self._client, self._base, self._asked_model)

    @property
    def lossless(self) -> bool:
        """Only our own server promises the target's text; of others nothing is known."""
        return self._server.kind == "mmspec"

    @property
    def settings(self) -> dict[str, Any]:
        """Where, which model, whose server, and that its caches may be warm."""
        server = self._server
        return {
            "kind": "url",
            "url": self._base,
            "model": server.model,
            "server": server.kind,
            "cold": server.kind == "vllm",
        }

    def generate(self, case: Case) -> Trace:
        """Answer one case.

        Raises:
            UnsupportedError: the server refuses the request, or counts no tokens.
            ServerError: it fails, breaks off or cannot be reached.
        """
        path, body = self._request(case)
        said = _Said()
        with Meter(torch.device("cpu")) as meter:
            try:
                with self._client.stream("POST", f"{self._base}/{path}", json=body) as reply:
                    if reply.status_code != httpx.codes.OK:
                        raise _refusal(reply)
                    for chunk in chunks(reply.iter_bytes()):
                        said.read(chunk, meter)
            except httpx.TransportError as error:
                raise ServerError(f"{type(error).__name__}: {error}") from error
            total = meter.seconds()
        return said.trace(case, total)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _request(self, case: Case) -> tuple[str, dict[str, Any]]:
        """Route and body; extensions only where they are understood."""
        sampling, server = case.sampling, self._server
        body: dict[str, Any] = {
            "model": server.model,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if server.kind in ("mmspec", "vllm"):
            body |= {"return_token_ids": True, "ignore_eos": sampling.ignore_eos}
        elif sampling.ignore_eos:
            raise UnsupportedError("this server may not know how to run on past an end token")
        if server.kind == "mmspec":
            body["speculation"] = {"report": True}
        if server.kind == "vllm":
            body["cache_salt"] = secrets.token_hex(8)
        if case.messages is not None:
            return "chat/completions", body | {"messages": case.messages}
        return "completions", body | {"prompt": case.text}


@dataclass(frozen=True, slots=True)
class _Server:
    model: str
    kind: Literal["mmspec", "vllm", "other"]


@dataclass(slots=True)
class _Said:
    """One stream, being read."""

    text: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    has_ids: bool = False
    first: float | None = None
    last: float = 0.0
    reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    def read(self, chunk: dict[str, Any], meter: Meter) -> None:
        """Take one chunk; the one with usage has no choices, or, with some servers, has them."""
        self.usage = chunk.get("usage") or self.usage
        self.report = chunk.get("mmspec") or self.report
        for choice in chunk.get("choices") or ():
            text = (choice.get("delta") or {}).get("content") or choice.get("text") or ""
            ids = choice.get("token_ids") or []
            if text or ids:
                self.last = meter.seconds()
                self.first = self.last if self.first is None else self.first
            self.text.append(text)
            self.ids += ids
            self.has_ids = self.has_ids or "token_ids" in choice
            self.reason = choice.get("finish_reason") or self.reason

    def trace(self, case: Case, total: float) -> Trace:
        """The whole answer.

        Raises:
            ServerError: it is not whole. UnsupportedError: its tokens cannot be counted.
        """
        if self.reason not in ("stop", "length"):
            raise ServerError(f"the stream ended with finish reason {self.reason}")
        tokens = self.usage.get("completion_tokens", len(self.ids) if self.has_ids else None)
        if not isinstance(tokens, int):
            raise UnsupportedError("the server counts no tokens (no usage in its stream)")
        ids = self.ids if self.has_ids and len(self.ids) == tokens else None
        speculation = self.report.get("speculation") or {}
        details = self.usage.get("prompt_tokens_details") or {}
        return Trace(
            text="".join(self.text),
            tokens=tokens,
            finish_reason=self.reason,
            seconds=Seconds(
                total=total,
                first=self.first,
                decode=None if self.first is None else self.last - self.first,
            ),
            ids=ids,
            prompt_tokens=self.usage.get("prompt_tokens") or len(case.prompt.ids),
            image_tokens=details.get("image_tokens")
            or sum(media.length for media in case.prompt.media),
            passes=speculation.get("rounds"),
            rounds=_rounds(speculation, tokens),
            seed=self.report.get("seed", case.sampling.seed),
        )


def _rounds(speculation: dict[str, Any], tokens: int) -> Rounds | None:
    """The round log of our own server's report, where there is one."""
    try:
        return trim_rounds(msgspec.convert(speculation["log"], Rounds), tokens)
    except (KeyError, msgspec.ValidationError):
        return None


def _probe(client: httpx.Client, base: str, asked: str | None) -> _Server:
    try:
        reply = client.get(f"{base}/models", timeout=_PROBE_SECONDS)
        reply.raise_for_status()
        cards = reply.json()["data"]
        found = {str(card["id"]): str(card.get("owned_by")) for card in cards}
    except httpx.HTTPError as error:
        raise PlanError(f"no server at {base}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise PlanError(f"{base}/models does not list models") from error
    if asked is None and len(found) != 1:
        names = ", ".join(found) or "none"
        raise PlanError(f"{base} has several models or none ({names}): add #model to the URL")
    model = asked or next(iter(found))
    if model not in found:
        raise PlanError(f"{base} has no model {model!r} (it has: {', '.join(found)})")
    kind = found[model]
    return _Server(model, "mmspec" if kind == "mmspec" else "vllm" if kind == "vllm" else "other")


def _refusal(reply: httpx.Response) -> Exception:
    """What a status other than 200 means."""
    text = reply.read().decode("utf-8", "replace")
    try:
        why = complaint(msgspec.json.decode(text))
    except msgspec.DecodeError:
        why = text[:200]
    said = f"HTTP {reply.status_code}: {why}"
    return UnsupportedError(said) if reply.status_code in _REFUSED else ServerError(said)
