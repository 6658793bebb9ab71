"""From a run's folder to the value of ``results.json``."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from mmspec_evals.errors import DataError
from mmspec_evals.registry import all_tasks
from mmspec_evals.results import lossless, quality, spec, speed
from mmspec_evals.results.arms import LAST, VANILLA, arms
from mmspec_evals.results.definitions import DEFINITIONS
from mmspec_evals.results.flags import flags
from mmspec_evals.results.harness import harness
from mmspec_evals.running.documents import read_docs
from mmspec_evals.running.environment import Environment
from mmspec_evals.running.layout import Layout, all_samples, read_plan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mmspec_evals.doc import Doc
    from mmspec_evals.results.arms import Arm
    from mmspec_evals.results.quality import Aggregate, Mark
    from mmspec_evals.running.plan import Plan, TaskPlan

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """One task of a run: plan, and arms by label (``vanilla.last`` still apart)."""

    plan: TaskPlan
    raw: Mapping[str, Arm]
    docs: Mapping[str, Doc] | None = None
    aggregate: Aggregate | None = None


def assemble(root: Path) -> dict[str, Any]:
    """Everything a run's folder tells, as plain values; NaN already None.

    Raises:
        DataError: the folder holds no run, or a damaged one.
    """
    plan, environment = read_plan(root), read_environment(root)
    measured = [_measured(root, plan, task) for task in plan.tasks]
    cells: dict[str, dict[str, Any]] = {}
    differences: list[dict[str, Any]] = []
    for task in measured:
        marks = marks_of(task)
        cells[task.plan.name] = _cells(plan, task, marks)
        differences += _differences(task, marks)
    return {
        "schema": SCHEMA,
        **harness(plan, environment, cells, _spent(measured)),
        "methods": cells,
        "comparisons": quality.corrected(differences),
        "environment": _environment(environment),
        "data": {task.name: msgspec.to_builtins(task.source) for task in plan.tasks},
        "definitions": DEFINITIONS,
        "flags": flags(plan, environment, cells),
    }


def read_environment(root: Path) -> Environment:
    """``env.json`` of a run.

    Raises:
        DataError: it is missing or of another version.
    """
    path = Layout(root).env
    try:
        return msgspec.json.decode(path.read_bytes(), type=Environment)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{path}: {error}") from error


def marks_of(task: Measured) -> dict[str, list[Mark]]:
    """Marks of every method of a task."""
    merged = speed.bases(task.raw)
    applies = quality.expected(merged)
    names = [metric.name for metric in task.plan.metrics]
    return {name: quality.marks(arm, applies, names) for name, arm in merged.items()}


def _measured(root: Path, plan: Plan, task: TaskPlan) -> Measured:
    raw = arms(all_samples(root, plan, task.name))
    known = all_tasks().get(task.name)
    if known is None or known.aggregate is None or known.version != task.version:
        return Measured(task, raw)
    return Measured(task, raw, read_docs(root, task.name), known.aggregate)


def _cells(plan: Plan, task: Measured, marks: Mapping[str, list[Mark]]) -> dict[str, Any]:
    merged = speed.bases(task.raw)
    shared = speed.shared_documents(merged)
    result: dict[str, Any] = {}
    for arm in plan.arms:
        name = arm.label
        if name == LAST or name not in merged:
            continue
        done = merged[name]
        tally = quality.counts(done)
        tally["missing"] = len(task.plan.docs) - tally["documents"]
        cell: dict[str, Any] = {"n": len(marks[name]), "counts": tally, "settings": arm.settings}
        why = quality.reason(done)
        if why is not None:
            result[name] = cell | {"unsupported": why}
            continue
        cell["quality"] = quality.block(marks[name], task.docs, task.aggregate)
        cell["speed"] = speed.block(name, merged, task.raw, shared)
        cell["spec"] = spec.block(done)
        cell["lossless"] = lossless.block(done, arm.lossless and name != VANILLA)
        cell["documents"] = _documents(done, merged.get(VANILLA), marks[name])
        result[name] = cell
    return result


def _documents(arm: Arm, base: Arm | None, marks: list[Mark]) -> dict[str, list[Any]]:
    """Seconds, tokens, passes and marks of every document, a list a field."""
    rows = speed.columns(arm, base)
    read = [[spec.read(s, d.cluster) for s in d.timed] for d in arm.values()]
    rows["tokens"] = [_mean([found.tokens for found in done]) for done in read]
    rows["passes"] = [
        _mean([p for p in (found.passes for found in done) if p is not None]) for done in read
    ]
    known = {mark.doc: mark.scores for mark in marks}
    for metric in dict.fromkeys(name for scores in known.values() for name in scores):
        rows[f"score:{metric}"] = [known.get(doc, {}).get(metric) for doc in arm]
    return rows


def _differences(task: Measured, marks: Mapping[str, list[Mark]]) -> list[dict[str, Any]]:
    """Every method against plain decoding, on every metric."""
    if VANILLA not in marks:
        return []
    names = list(dict.fromkeys(n for found in marks.values() for m in found for n in m.scores))
    pairs = itertools.product((name for name in marks if name != VANILLA), names)
    base = (VANILLA, marks[VANILLA])
    found = [quality.difference(task.plan.name, m, (a, marks[a]), base) for a, m in pairs]
    return [row for row in found if row is not None]


def _environment(environment: Environment) -> dict[str, Any]:
    last = environment.sessions[-1] if environment.sessions else None
    return {
        **msgspec.to_builtins(environment.machine),
        "fingerprint": environment.fingerprint,
        "commit": last.commit if last else None,
        "dirty": any(session.dirty for session in environment.sessions),
        "sessions": [
            {"id": s.id, "started": _seconds(s.started), "commit": s.commit}
            for s in environment.sessions
        ],
        "mixed": environment.mixed,
    }


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _spent(measured: list[Measured]) -> float:
    """Seconds spent answering, over all methods."""
    return sum(
        trace.seconds.total
        for task in measured
        for arm in task.raw.values()
        for document in arm.values()
        for sample in document.samples
        for trace in sample.traces
    )


def _mean(values: list[int]) -> float | None:
    return sum(values) / len(values) if values else None
