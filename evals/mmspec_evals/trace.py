"""What one method did for one turn: ids, seconds and rounds; the line of a samples file."""

from __future__ import annotations

import msgspec


class Seconds(msgspec.Struct, frozen=True, kw_only=True):
    """Wall seconds of the phases of one answer; None where a method cannot tell.

    ``first`` is from the start of the call to the first token (prefill and pictures within it),
    ``decode`` from the first token to the last, ``total`` the whole call. ``first`` is ``vision``
    and ``prefill`` together; ``draft`` is a part of both ``first`` and ``decode``. Making the
    prompt (template, tokenising, picture decoding) is outside: it is done once, for all methods.
    """

    total: float
    first: float | None = None
    decode: float | None = None
    vision: float | None = None
    prefill: float | None = None
    draft: float | None = None


class Rounds(msgspec.Struct, frozen=True, kw_only=True):
    """Verified trees of one answer, in order; parallel lists, one entry a target pass.

    ``proposed`` counts drafted nodes (root excluded), ``depth`` is the deepest of them,
    ``accepted`` the drafted tokens kept, the bonus excluded. The last round is trimmed at the end
    of the answer.
    """

    proposed: list[int] = []
    depth: list[int] = []
    accepted: list[int] = []


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of one method.

    ``ids`` are the new tokens as the method decoded them, an end token included, nothing after it;
    a method that only sees text (a URL without ids) leaves them None and gives ``tokens``.
    ``passes`` counts target forwards that gave tokens (plain decoding: one a token; a forward that
    ends the prefill and gives the first token is one of them), ``drafts`` those of a draft model.
    Both None when unknown, never 0 for unknown.
    """

    text: str
    tokens: int
    finish_reason: str  # "stop" or "length"
    seconds: Seconds
    ids: list[int] | None = None
    prompt_tokens: int = 0
    image_tokens: int = 0
    passes: int | None = None
    drafts: int | None = None
    rounds: Rounds | None = None
    peak_mib: float | None = None
    seed: int | None = None


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of a greedy answer with plain decoding of the same document.

    ``kind`` is ``exact`` (same ids), ``near_tie`` (parts at a position where the target's own
    logits, given the shared text before it, put both tokens within ``bound``), ``violation``, or
    ``approximate`` for a method that says it is not lossless. ``at`` is the first differing index,
    ``gap`` the logit of the target's best token less that of the method's token, teacher-forced.
    """

    kind: str
    at: int | None = None
    gap: float | None = None
    bound: float | None = None
    common: int = 0  # ids shared before the first difference


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One (document, method, repeat): a line of ``samples/<task>/<method>.r<k>.jsonl``.

    ``method`` is a label such as ``mmspec`` or ``vanilla``; the vanilla arm appears twice, as
    ``vanilla`` (measured first) and ``vanilla.last`` (measured last), for drift. ``key`` identifies
    the cell for resuming. With ``error`` there may be no traces, and scores count as 0.
    """

    schema: int = 1
    key: str
    task: str
    task_version: int
    method: str
    repeat: int
    order: int  # place in the sequence in which this document's methods ran
    doc_id: str
    doc_sha: str
    cluster: str
    prompt_sha: str = ""
    prompt_tokens: int = 0
    truncated: int = 0  # prompt tokens left out to fit
    has_image: bool = False
    traces: list[Trace] = []  # one a turn
    answers: list[str] = []  # texts as scored, cut at the task's stop strings
    scores: dict[str, float] = {}
    error: str | None = None
    error_kind: str | None = None  # "unsupported", "oom", "failed", "gate"
    session: str = ""  # which process start measured it: seconds pair only within one
    audit: Audit | None = None
