"""Marks of one method, and differences of two on the same documents."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmspec_evals.results import stats
from mmspec_evals.results.speed import number, told
from mmspec_evals.task import Scored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mmspec_evals.doc import Doc
    from mmspec_evals.results.arms import Arm, Document

    Aggregate = Callable[[list[Scored]], Mapping[str, float]]

AGGREGATE_RESAMPLES = 200  # an aggregate is a Python function: fewer than of sums


@dataclass(frozen=True, slots=True)
class Mark:
    """Scores of one document, the mean over repeats; an answer that failed scores 0."""

    doc: str
    sha: str
    cluster: str
    scores: Mapping[str, float]
    answers: tuple[str, ...]


def expected(arms: Mapping[str, Arm]) -> dict[str, set[str]]:
    """Metrics that apply to each document, as far as any method's answer tells."""
    found: dict[str, set[str]] = {}
    for arm in arms.values():
        for document in arm.values():
            for sample in document.marked:
                found.setdefault(document.id, set()).update(sample.scores)
    return found


def marks(
    arm: Arm, applies: Mapping[str, set[str]], fallback: Sequence[str], failed: float = 0.0
) -> list[Mark]:
    """Marks of every document the method can do at all.

    Args:
        applies: metrics of each document. fallback: metrics of one that nobody answered.
        failed: what an answer that failed scores.
    """
    return [
        _mark(document, applies.get(document.id) or set(fallback), failed)
        for document in arm.values()
        if not document.unsupported
    ]


def block(
    found: list[Mark], docs: Mapping[str, Doc] | None = None, aggregate: Aggregate | None = None
) -> dict[str, Any]:
    """The ``quality`` block: each metric, its standard error, its interval, its documents.

    Args:
        docs: documents by id, which only ``aggregate`` needs.
    """
    result: dict[str, Any] = {}
    for metric in dict.fromkeys(name for mark in found for name in mark.scores):
        rows = [(mark.scores[metric], mark.cluster) for mark in found if metric in mark.scores]
        values, clusters = [value for value, _ in rows], [cluster for _, cluster in rows]
        result |= told(metric, stats.average(values, clusters))
        result[f"{metric}_stderr"] = number(stats.clustered_error(values, clusters))
        result[f"{metric}_n"] = len(rows)
    if aggregate is not None and docs is not None:
        rows_known = [mark for mark in found if mark.doc in docs]
        result |= _aggregated(rows_known, docs, aggregate)
    return result


def counts(arm: Arm) -> dict[str, int]:
    """Documents of a cell by what became of them."""
    documents = list(arm.values())
    samples = [sample for document in documents for sample in document.marked]
    answered = [sample for sample in samples if not sample.error]
    return {
        "documents": len(documents),
        "repeats": len({sample.repeat for sample in samples}),
        "errors": sum(
            any(s.error and s.error_kind != "unsupported" for s in d.marked) for d in documents
        ),
        "out_of_memory": sum(any(s.error_kind == "oom" for s in d.marked) for d in documents),
        "unsupported": sum(document.unsupported for document in documents),
        "truncated": sum(any(s.truncated for s in d.marked) for d in documents),
        "with_image": sum(any(s.has_image for s in d.marked) for d in documents),
        "empty": sum(not "".join(s.answers).strip() for s in answered),
        "at_cap": sum(any(t.finish_reason == "length" for t in s.traces) for s in answered),
        "prompt_tokens": sum(sample.prompt_tokens for sample in samples),
        "tokens": sum(trace.tokens for sample in answered for trace in sample.traces),
    }


def reason(arm: Arm) -> str | None:
    """Why a method cannot do a task, if it cannot do any of its documents."""
    if not arm or not all(document.unsupported for document in arm.values()):
        return None
    return next(iter(arm.values())).marked[-1].error or "unsupported"


def difference(
    task: str, metric: str, first: tuple[str, list[Mark]], second: tuple[str, list[Mark]]
) -> dict[str, Any] | None:
    """One metric of two methods, paired by document; None if they share none.

    ``diff`` is the first less the second. The test is exact: McNemar's for marks of 0 or 1, the
    sign test for others; documents that share a source vote together.
    """
    (a, ones), (b, others) = first, second
    known = {mark.doc: mark for mark in others if metric in mark.scores}
    pairs = [(one, known[one.doc]) for one in ones if one.doc in known and metric in one.scores]
    if not pairs:
        return None
    values = [one.scores[metric] - other.scores[metric] for one, other in pairs]
    clusters = [one.cluster for one, _ in pairs]
    found = stats.average(values, clusters)
    binary = all(m.scores[metric] in (0.0, 1.0) for both in pairs for m in both)
    return {
        "task": task,
        "metric": metric,
        "a": a,
        "b": b,
        "diff": number(found.value),
        "ci95": found.ci95,
        "p": number(stats.sign_test(values, clusters)),
        "test": "mcnemar" if binary else "sign",
        "n": found.n,
        "clusters": found.clusters,
    }


def corrected(differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with ``p_holm``: Holm's correction over all tasks and metrics of a pair."""
    result = []
    families = dict.fromkeys((row["a"], row["b"]) for row in differences)
    for family in families:
        rows = [row for row in differences if (row["a"], row["b"]) == family]
        known = {i: math.nan if row["p"] is None else row["p"] for i, row in enumerate(rows)}
        adjusted = stats.holm(known)
        result += [row | {"p_holm": number(adjusted[i])} for i, row in enumerate(rows)]
    return result


def _mark(document: Document, metrics: set[str], failed: float) -> Mark:
    samples = document.marked
    scores = {}
    for metric in sorted(metrics):
        values = [
            failed if sample.error else sample.scores[metric]
            for sample in samples
            if sample.error or metric in sample.scores
        ]
        if values:
            scores[metric] = sum(values) / len(values)
    answers = tuple(samples[-1].answers)
    return Mark(document.id, document.sha, document.cluster, scores, answers)


def _aggregated(found: list[Mark], docs: Mapping[str, Doc], aggregate: Aggregate) -> dict[str, Any]:
    """An aggregate with standard error and interval from resampled clusters."""
    groups: dict[str, list[Scored]] = {}
    for mark in found:
        row = Scored(docs[mark.doc], mark.answers, mark.scores)
        groups.setdefault(mark.cluster, []).append(row)
    held = list(groups.values())
    whole = aggregate([row for rows in held for row in rows])
    generator = np.random.default_rng(stats.SEED)
    drawn: dict[str, list[float]] = {name: [] for name in whole}
    for _ in range(AGGREGATE_RESAMPLES if len(held) > 1 else 0):
        chosen = generator.integers(len(held), size=len(held))
        for name, value in aggregate([row for at in chosen for row in held[at]]).items():
            drawn.setdefault(name, []).append(value)
    result: dict[str, Any] = {}
    for name, value in whole.items():
        seen = drawn[name]
        result[name] = number(value)
        result[f"{name}_stderr"] = number(float(np.std(seen, ddof=1))) if len(seen) > 1 else None
        result[f"{name}_ci95"] = np.percentile(seen, (2.5, 97.5)).tolist() if seen else None
        result[f"{name}_n"] = len(found)
    return result
