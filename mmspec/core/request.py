"""What was asked (Request) and what is told (Delta): frozen values, no behaviour but checks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from mmspec.core.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SEED = 2**63 - 1
MAX_TRANSFER = 20.0  # beyond it the tilt overshoots the drafter's own law
FinishReason = Literal["stop", "length", "cancelled", "error"]


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the target's law is shaped into the served law, and when to stop.

    The served law is: logits, then repetition, presence and frequency penalties, logit bias,
    bans (bad words, ``min_tokens``), temperature, top-k, top-p, min-p, in float32.
    """

    temperature: float = 1.0
    top_k: int = 0  # 0 keeps the whole vocabulary
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0  # over prompt and output
    presence_penalty: float = 0.0  # over output only
    frequency_penalty: float = 0.0  # over output only
    logit_bias: dict[int, float] = {}
    bad_words: tuple[tuple[int, ...], ...] = ()  # token id sequences that may never be completed
    max_tokens: int | None = None  # None: up to the end of the context
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    include_stop: bool = False  # keep the stop string in the text
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    seed: int | None = None  # None: the engine draws one and reports it
    n: int = 1
    logprobs: int | None = None  # None: none; k: the chosen token's and the k most likely ones'
    prompt_logprobs: int | None = None  # the same of the prompt's own tokens, all but the first

    def check(self) -> None:
        """Refuse values no sampler can honour.

        Raises:
            BadRequestError: naming the first offending field.
        """
        ranges: dict[str, tuple[float, float]] = {
            "temperature": (0.0, 2.0),
            "top_p": (0.0, 1.0),
            "min_p": (0.0, 1.0),
            "presence_penalty": (-2.0, 2.0),
            "frequency_penalty": (-2.0, 2.0),
            "repetition_penalty": (1e-6, 100.0),
            "top_k": (-1, 2**31),
            "min_tokens": (0, 2**31),
            "n": (1, 16),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not math.isfinite(value) or not low <= value <= high:
                raise BadRequestError(f"{name} must be between {low:g} and {high:g}", name)
        self._check_lengths()
        self._check_lists()

    def _check_lengths(self) -> None:
        if self.top_p <= 0.0:
            raise BadRequestError("top_p must be greater than 0", "top_p")
        if self.max_tokens is not None and self.max_tokens < (self.prompt_logprobs is None):
            raise BadRequestError("max_tokens must be at least 1", "max_tokens")
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise BadRequestError("min_tokens exceeds max_tokens", "min_tokens")
        if self.seed is not None and not -MAX_SEED - 1 <= self.seed <= MAX_SEED:
            raise BadRequestError("seed must fit in 64 signed bits", "seed")
        if self.logprobs is not None and not 0 <= self.logprobs <= 20:
            raise BadRequestError("top_logprobs must be between 0 and 20", "top_logprobs")
        if self.prompt_logprobs is not None and not 0 <= self.prompt_logprobs <= 20:
            raise BadRequestError("prompt_logprobs must be between 0 and 20", "prompt_logprobs")

    def _check_lists(self) -> None:
        # OpenAI takes four; evaluation harnesses send a few more.
        if len(self.stop) > 16 or any(not 0 < len(text) <= 256 for text in self.stop):
            raise BadRequestError("stop takes up to 16 strings of 1 to 256 characters", "stop")
        if len(self.logit_bias) > 300:
            raise BadRequestError("logit_bias takes up to 300 entries", "logit_bias")
        for value in self.logit_bias.values():
            if not -100.0 <= value <= 100.0:
                raise BadRequestError("logit_bias values lie between -100 and 100", "logit_bias")
        if len(self.bad_words) > 64 or any(not 0 < len(word) <= 32 for word in self.bad_words):
            raise BadRequestError("bad_words takes up to 64 words of 1 to 32 tokens", "bad_words")


class Speculation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one request says about speculation.

    Nothing here changes the text that comes out, but for ``transfer``: then it has the law of
    ``mmspec.core.transfer``, not the target's own, and the report says so.
    """

    enabled: bool = True
    drafters: tuple[str, ...] | None = None  # addresses such as "retrieval.suffix"; None: all
    max_nodes: int | None = None  # nodes of a tree, root included; None: the server's budget
    max_depth: int | None = None
    report: bool = False
    adaptive: bool = True  # whether drafters that are not named here and do not pay fall silent
    transfer: float | None = None  # how far a drafter's law tilts the target's; 0: not at all

    def check(self) -> None:
        """Refuse budgets that make no tree.

        Raises:
            BadRequestError: naming the first offending field.
        """
        for name in ("max_nodes", "max_depth"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 1024:
                raise BadRequestError(f"{name} must be between 1 and 1024", f"speculation.{name}")
        if self.transfer is not None and not 0.0 <= self.transfer <= MAX_TRANSFER:
            raise BadRequestError(
                f"transfer must be between 0 and {MAX_TRANSFER:g}", "speculation.transfer"
            )


@dataclass(frozen=True, slots=True)
class Media:
    """One picture of a prompt: where it stands and what the vision tower reads.

    Attributes:
        digest: SHA-256 over decoded pixels and processor settings; the identity of the picture.
        start: index of its first placeholder token in the prompt.
        length: number of placeholder tokens.
        inputs: keyword arguments of the vision tower for this picture alone (tensors).
    """

    digest: str
    start: int
    length: int
    inputs: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids (int64 [P]) with the pictures that stand in them, in order of appearance.

    Attributes:
        shared: leading tokens, such as a document, that later prompts of the same tenant are likely
            to begin with: they alone are remembered, and longer than others. 0: nothing is said.
    """

    ids: np.ndarray
    media: tuple[Media, ...] = ()
    shared: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One call, possibly for several choices, as the engine takes it.

    Attributes:
        tenant: who asks; no part of a remembered prompt is shared between two tenants.
        progress: tell how far the prompt has been read, after every chunk of it.
        prediction: int64 [K], what the caller expects the answer to be, for drafters to guess by;
            none where it says nothing. Never changes the text that comes out.
    """

    id: str
    prompt: Prompt
    sampling: Sampling = Sampling()
    speculation: Speculation = Speculation()
    tenant: str = ""
    progress: bool = False
    prediction: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)


class RoundLog(msgspec.Struct, frozen=True, kw_only=True):
    """Every verified tree of one choice, in order: parallel lists, one entry a target pass.

    ``proposed`` counts drafted nodes (the root excluded), ``depth`` is the deepest of them,
    ``accepted`` how many were kept, the bonus excluded.
    """

    proposed: list[int]
    depth: list[int]
    accepted: list[int]


class SpeculationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What speculation did for one choice.

    ``tau`` is tokens emitted per target pass after prefill, the bonus token included: 1.0 is plain
    decoding. ``accepted`` excludes the bonus. ``log`` is kept for requests that ask for a report.
    ``rag_mode`` says what a drafter that reads excerpts may do: ``lossless``, guess alone;
    ``transfer``, tilt the target's law by ``eta``.
    """

    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    tau: float = 0.0
    by_source: dict[str, tuple[int, int]] = {}  # address -> (drafted, accepted)
    off_reasons: dict[str, str] = {}  # address -> why it did not speak
    route: str = ""  # who was chosen to watch: vision, text, long, "text, blind", asked or off
    lossless: bool = True
    rag_mode: Literal["lossless", "transfer"] = "lossless"
    eta: float = 0.0
    log: RoundLog | None = None


class TokenLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """Log-probabilities under the target's own law (before any shaping) at one position.

    ``rank`` is the token's place among all, 1 the most likely; 0 where nobody counted.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    """News about one choice of one request: the tokens one step decided.

    The last Delta of a choice has a finish reason and a report. The first of choice 0 carries the
    prompt's log-probabilities where they were asked for, from the prompt's second token on. One
    with ``prefilled`` says nothing else: so many tokens of the prompt are read.
    """

    request_id: str
    choice: int
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] | None = None
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None
    finish_reason: FinishReason | None = None
    seed: int = 0
    cached_tokens: int = 0  # prompt tokens found in the prefix cache
    report: SpeculationReport | None = None
    error: str | None = None
    prefilled: int = 0
