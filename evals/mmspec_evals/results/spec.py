"""Acceptance of one method: what was drafted, kept and emitted, a target pass at a time.

Every ratio is a ratio of sums, resampled by document (by cluster): rounds of one document are far
from independent. What a method cannot tell is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmspec_evals.results import repetition, stats
from mmspec_evals.results.speed import bucket, number, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mmspec_evals.results.arms import Arm
    from mmspec_evals.trace import Sample, Trace

LONG_ENOUGH = 64  # emitted tokens a document, below which acceptance means little
FIRST_TOKENS = 32
POSITIONS = 16  # deepest drafted position that is told by itself


@dataclass(frozen=True, slots=True)
class Passes:
    """Rounds of one document, in one table [R, 4]: proposed, depth, accepted, first token's index.

    Attributes:
        tokens: emitted. passes: target passes after prefill, None if any answer does not know them.
        drafting: seconds of drafting and of everything after the prompt was made; None if unknown.
    """

    cluster: str
    prompt_tokens: int
    has_image: bool
    tokens: int
    passes: int | None
    rounds: np.ndarray | None
    drafting: tuple[float, float] | None


def block(arm: Arm) -> dict[str, Any]:
    """The ``spec`` block of one method, over every document it answered."""
    documents = [
        read(sample, document.cluster) for document in arm.values() for sample in document.told
    ]
    told_of = [d for d in documents if d.passes is not None]
    emitted = [d.tokens for d in documents]
    known = [d for d in documents if d.rounds is not None]
    drafting = [(d.cluster, d.drafting) for d in documents if d.drafting is not None]
    share = stats.bootstrap([s for _, s in drafting], [c for c, _ in drafting], stats.over)
    result = {
        **told("tau", tau(told_of)),
        **told("draft_share", share),
        "documents": len(documents),
        "tokens_per_document": number(sum(emitted) / len(emitted)) if emitted else None,
        "long_documents": sum(tokens >= LONG_ENOUGH for tokens in emitted),
        "long_enough": bool(emitted) and float(np.median(emitted)) >= LONG_ENOUGH,
        "repeated": repetition.share(s for document in arm.values() for s in document.told),
        **acceptance(known),
    }
    return result | {"buckets": buckets(documents)}


def read(sample: Sample, cluster: str) -> Passes:
    """Counts of one sample, all its turns."""
    traces = sample.traces
    passes = [trace.passes for trace in traces if trace.passes is not None]
    tables = [_rounds(trace) for trace in traces]
    known = [table for table in tables if table is not None]
    spent = [_drafting(trace) for trace in traces]
    halves = [half for half in spent if half is not None]
    return Passes(
        cluster=cluster,
        prompt_tokens=sample.prompt_tokens,
        has_image=sample.has_image,
        tokens=sum(trace.tokens for trace in traces),
        passes=sum(passes) if len(passes) == len(traces) else None,
        rounds=np.concatenate(known) if known and len(known) == len(traces) else None,
        drafting=(sum(a for a, _ in halves), sum(b for _, b in halves))
        if halves and len(halves) == len(traces)
        else None,
    )


def tau(documents: Sequence[Passes]) -> stats.Estimate:
    """Tokens over target passes after prefill, the bonus token included: 1 is plain decoding."""
    return stats.ratio(
        [float(d.tokens) for d in documents],
        [float(d.passes or 0) for d in documents],
        [d.cluster for d in documents],
    )


def acceptance(documents: Sequence[Passes]) -> dict[str, Any]:
    """Everything read off rounds, under our names and under those of ``vllm bench serve``."""
    tables = [d.rounds for d in documents if d.rounds is not None]
    clusters = [d.cluster for d in documents]
    kept = [(float(t[:, 2].sum()), float(len(t))) for t in tables]
    nodes = [(float(t[:, 2].sum()), float(t[:, 0].sum())) for t in tables]
    every = np.concatenate(tables) if tables else np.zeros((0, 4), np.int64)
    drafted = every[every[:, 0] > 0]
    count, proposed, accepted = len(drafted), int(drafted[:, 0].sum()), int(drafted[:, 2].sum())
    depth = min(int(drafted[:, 1].max()) if count else 0, POSITIONS)
    at = [int((drafted[:, 2] >= k).sum()) for k in range(1, depth + 1)]
    result = {
        **told("accepted_per_round", stats.bootstrap(kept, clusters, stats.over)),
        **told("draft_rate", stats.bootstrap(nodes, clusters, stats.over)),
        "accept_at": [reached / count for reached in at] if count else None,
        "accept_at_ci95": _at_intervals(tables, clusters, depth) if count else None,
        "alpha": alpha(drafted, depth) if count else None,
        "histogram": np.bincount(drafted[:, 2]).tolist() if count else None,
        "rounds": len(every) if tables else None,
    }
    return result | {
        "spec_decode_acceptance_length": 1 + accepted / count if count else None,
        "spec_decode_acceptance_rate": 100 * accepted / proposed if count else None,
        "spec_decode_num_drafts": count if tables else None,
        "spec_decode_draft_tokens": proposed if tables else None,
        "spec_decode_accepted_tokens": accepted if tables else None,
        "spec_decode_per_position_acceptance_rates": result["accept_at"],
    }


def alpha(drafted: np.ndarray, depth: int) -> list[float | None]:
    """Acceptance at each position given that the one before was accepted and this one drafted."""
    rates: list[float | None] = []
    for k in range(1, depth + 1):
        reached = drafted[(drafted[:, 2] >= k - 1) & (drafted[:, 1] >= k)]
        rates.append(float((reached[:, 2] >= k).mean()) if len(reached) else None)
    return rates


def buckets(documents: Sequence[Passes]) -> dict[str, Any]:
    """The same by prompt length, by whether there is a picture, and by place in the output."""
    by_length: dict[str, list[Passes]] = {}
    for document in sorted(documents, key=lambda d: d.prompt_tokens):
        by_length.setdefault(bucket(document.prompt_tokens), []).append(document)
    by_image = {
        name: [d for d in documents if d.has_image == seen]
        for name, seen in (("image", True), ("no_image", False))
    }
    return {
        "context": {name: _brief(held) for name, held in by_length.items()},
        "image": {name: _brief(held) for name, held in by_image.items() if held},
        "position": _by_position([d for d in documents if d.rounds is not None]),
    }


def _brief(documents: Sequence[Passes]) -> dict[str, Any]:
    rates = acceptance([d for d in documents if d.rounds is not None])
    ratios = [
        f"{name}{end}" for name in ("accepted_per_round", "draft_rate") for end in ("", "_ci95")
    ]
    return {
        **told("tau", tau([d for d in documents if d.passes is not None])),
        **{key: rates[key] for key in (*ratios, "accept_at", "alpha")},
        "documents": len(documents),
    }


def _by_position(documents: Sequence[Passes]) -> dict[str, Any]:
    """Rounds whose first token is among the first 32 of the output, and the rest."""
    result: dict[str, Any] = {}
    names = (f"first_{FIRST_TOKENS}", "rest")
    for name, early in zip(names, (True, False), strict=True):
        rows, clusters = [], []
        for document in documents:
            table = document.rounds
            assert table is not None
            held = table[(table[:, 3] < FIRST_TOKENS) == early]
            if len(held):
                rows.append((float(held[:, 2].sum() + len(held)), float(len(held))))
                clusters.append(document.cluster)
        if rows:
            rate = stats.bootstrap(rows, clusters, stats.over)
            result[name] = told("tau", rate) | {"documents": len(rows)}
    return result


def _at_intervals(
    tables: Iterable[np.ndarray], clusters: Sequence[str], depth: int
) -> list[list[float] | None]:
    drafted = [table[table[:, 0] > 0] for table in tables]
    return [
        stats.bootstrap(
            [(float((t[:, 2] >= k).sum()), float(len(t))) for t in drafted], clusters, stats.over
        ).ci95
        for k in range(1, depth + 1)
    ]


def _rounds(trace: Trace) -> np.ndarray | None:
    """One row a round: proposed, depth, accepted, index of its first token; None if unknown."""
    log = trace.rounds
    if log is None or not log.accepted:
        return None
    accepted = np.array(log.accepted, np.int64)
    begins = np.concatenate([[0], np.cumsum(accepted + 1)[:-1]])
    return np.stack(
        [np.array(log.proposed, np.int64), np.array(log.depth, np.int64), accepted, begins], axis=1
    )


def _drafting(trace: Trace) -> tuple[float, float] | None:
    seconds = trace.seconds
    if seconds.draft is None or seconds.decode is None or seconds.first is None:
        return None
    return seconds.draft, seconds.first + seconds.decode
