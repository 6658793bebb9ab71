"""A scripted engine and a byte tokenizer: everything the server needs but a model."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

import numpy as np

from mmspec.core.errors import BadRequestError, OverloadedError
from mmspec.core.request import (
    Delta,
    Media,
    Prompt,
    Request,
    Sampling,
    SpeculationReport,
    TokenLogprob,
)
from mmspec.engine.stats import EngineStats

EOS, IMAGE, VOCABULARY = 256, 257, 258
CONTEXT = 2048
TEXT = "The quick brown fox — «jumps» über 🦊🦊 the lazy dog. "


class ByteProcessor:
    """Token = byte; 256 ends, 257 stands for a picture (four of them each)."""

    name = "fake/model"
    vocabulary = VOCABULARY
    accepts_images = True
    stop_tokens = frozenset({EOS})
    special_tokens = frozenset({EOS, IMAGE})

    def __init__(self):
        self.pictures = []
        self.card = {"eos_token": "<eos>", "bos_token": None}

    def chat(self, messages, images, add_generation_prompt=True):
        ids, media, waiting = [], [], list(images)
        self.pictures += images
        for message in messages:
            content = message["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            for part in parts:
                if part["type"] == "image":
                    image = waiting.pop(0)
                    media.append(Media(f"{image.size}", len(ids), 4, {}))
                    ids += [IMAGE] * 4
                else:
                    ids += part["text"].encode()
            ids.append(10)
        return Prompt(np.array(ids, np.int64), tuple(media))

    def text(self, text):
        return self.ids(list(text.encode()))

    def ids(self, ids):
        return Prompt(np.array(ids, np.int64))

    def encode(self, text, special=True):
        ids = []
        for part in re.split("(<eos>)", text):
            ids += [EOS] if part == "<eos>" else list(part.encode())
        return [*ids, *[EOS] * special]

    def decode(self, ids):
        return b"".join(self.token_bytes(id) for id in ids if id < 256).decode("utf-8", "replace")

    def token_bytes(self, id):
        return bytes([id]) if id < 256 else {EOS: b"<eos>", IMAGE: b"<image>"}[id]


@dataclass
class Run:
    request: Request
    choice: int
    said: int = 0


@dataclass
class ScriptedEngine:
    """Says ``text`` over and over, ``stride`` tokens a step; a prompt may order otherwise.

    A prompt that contains ``!end`` ends with EOS after one round, ``!crash`` makes the step raise,
    ``!error`` fails that request alone, ``!slow`` makes it say one token a step.
    """

    stride: int = 5
    pause: float = 0.0
    text: str = TEXT
    max_running: int = 64
    runs: dict[str, list[Run]] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    farewells: list[Delta] = field(default_factory=list)
    steps: int = 0
    closed: bool = False
    max_context: int = CONTEXT

    @property
    def target(self):
        return self

    @property
    def busy(self):
        return bool(self.runs or self.farewells)

    def submit(self, request):
        length = len(request.prompt.ids)
        if length == 0:
            raise BadRequestError("the prompt is empty", "prompt")
        if length >= CONTEXT:
            raise BadRequestError(
                f"the prompt has {length} tokens, the context {CONTEXT}",
                "messages",
                "context_length_exceeded",
            )
        for address in request.speculation.drafters or ():
            if address != "retrieval.suffix":
                raise BadRequestError(f"unknown drafter {address!r}", "speculation.drafters")
        if len(self.runs) >= self.max_running:
            raise OverloadedError("the queue is full", 2.0)
        self.runs[request.id] = [Run(request, i) for i in range(request.sampling.n)]

    def cancel(self, request_id, choice=None, reason="cancelled"):
        self.cancelled.append(request_id)
        for run in list(self.runs.get(request_id, [])):
            if choice is None or choice == run.choice:
                self.runs[request_id].remove(run)
                self.farewells.append(self._delta(run, (), reason))
        if not self.runs.get(request_id, True):
            del self.runs[request_id]

    def close(self):
        self.closed = True
        self.runs.clear()
        self.farewells.clear()

    @property
    def stats(self):
        return EngineStats(steps=self.steps, running=len(self.runs))

    def step(self):
        self.steps += 1
        if self.pause:
            time.sleep(self.pause)
        told, self.farewells = self.farewells, []
        for id, runs in list(self.runs.items()):
            if any(order(run, b"!crash") for run in runs):
                raise RuntimeError("secret detail")
            for run in list(runs):
                told.append(self._say(run))
                if told[-1].finish_reason is not None:
                    runs.remove(run)
            if not runs:
                del self.runs[id]
        return told

    def _say(self, run):
        sampling: Sampling = run.request.sampling
        script = [*self.text.encode()]
        limit = CONTEXT - len(run.request.prompt.ids)
        if sampling.max_tokens is not None:
            limit = min(limit, sampling.max_tokens)
        if limit == 0:
            return self._delta(run, (), "length")
        tokens, reason = [], None
        for _ in range(1 if order(run, b"!slow") else self.stride):
            if run.said == len(script) and order(run, b"!end") and not sampling.ignore_eos:
                token, reason = EOS, "stop"
            else:
                # choices differ: each starts one token later in the script
                token = script[(run.said + run.choice) % len(script)]
            tokens.append(token)
            run.said += 1
            if token in sampling.stop_token_ids:
                reason = "stop"
            elif run.said >= limit and reason is None:
                reason = "length"
            if reason is not None:
                break
        if order(run, b"!error"):
            return self._delta(run, (), "error")
        return self._delta(run, tuple(tokens), reason)

    def _scored(self, run):
        """Minus a hundredth of its id for each token of the prompt; 0 of the likeliest."""
        k = run.request.sampling.prompt_logprobs
        if k is None or run.choice > 0:
            return None
        ids = run.request.prompt.ids.tolist()[1:]
        return tuple(
            TokenLogprob(
                token=id,
                logprob=-id / 100,
                rank=id,
                top=tuple(((id + i + 1) % 256, -i / 100) for i in range(k)),
            )
            for id in ids
        )

    def _delta(self, run, tokens, reason):
        logprobs = None
        if (k := run.request.sampling.logprobs) is not None:
            logprobs = tuple(
                TokenLogprob(
                    token=t,
                    logprob=-0.25,
                    top=tuple(((t + i) % 256, -0.25 - i) for i in range(k)),
                )
                for t in tokens
            )
        report = SpeculationReport(rounds=3, drafted=8, accepted=4, tau=2.0)
        return Delta(
            request_id=run.request.id,
            choice=run.choice,
            tokens=tokens,
            logprobs=logprobs,
            prompt_logprobs=self._scored(run) if run.said <= self.stride else None,
            finish_reason=reason,
            seed=7 if run.request.sampling.seed is None else run.request.sampling.seed,
            cached_tokens=3,
            report=report if reason is not None else None,
            error="the engine could not finish this request" if reason == "error" else None,
        )


def order(run, word):
    return word in bytes(id for id in run.request.prompt.ids.tolist() if id < 256)
