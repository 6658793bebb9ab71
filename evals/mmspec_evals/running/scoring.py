"""Marking what was said: apart from generating, so that it can be done again without a model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from mmspec_evals.errors import PlanError
from mmspec_evals.registry import all_tasks
from mmspec_evals.running.documents import read_docs
from mmspec_evals.running.layout import Layout, read_samples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mmspec_evals.doc import Doc
    from mmspec_evals.running.plan import Plan, TaskPlan
    from mmspec_evals.task import Task
    from mmspec_evals.trace import Sample

FAILED = "score"  # error_kind of a sample whose answer is whole and whose scorer broke


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings.

    >>> cut("4 apples. Q: next", ("Q:", "A:"))
    '4 apples. '
    """
    places = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def mark(sample: Sample, task: Task, doc: Doc) -> Sample:
    """The sample with its answers as scored, and their scores; a failure is left as it is.

    The scorer sees the document as it is stored, so that marking again gives the same.

    Raises:
        Exception: whatever the scorer raises (it should not).
    """
    if sample.error is not None and sample.error_kind != FAILED:
        return sample
    answers = [cut(trace.text, task.stop) for trace in sample.traces]
    scores = {name: float(value) for name, value in task.score(tuple(answers), doc).items()}
    return msgspec.structs.replace(
        sample, answers=answers, scores=scores, error=None, error_kind=None
    )


def mark_again(root: Path, plan: Plan) -> int:
    """Mark every sample of a run by today's scorers, from its own folder alone.

    Returns:
        Samples marked.

    Raises:
        PlanError: a task is gone, or its prompts or marks were given a new version since.
    """
    layout, marked = Layout(root), 0
    for row in plan.tasks:
        task, docs = _task(row), read_docs(root, row.name)
        for arm in plan.arms:
            for repeat in range(plan.repeats):
                path = layout.samples(row.name, arm.label, repeat)
                # A run that was forced on may hold samples of documents it does not ask any more.
                samples = [
                    mark(s, task, docs[s.doc_id]) if s.doc_id in docs else s
                    for s in read_samples(path)
                ]
                marked += sum(sample.error is None for sample in samples)
                _rewrite(path, samples)
    return marked


def _task(row: TaskPlan) -> Task:
    task = all_tasks().get(row.name)
    if task is None:
        raise PlanError(f"there is no task {row.name} any more")
    if task.version != row.version:
        raise PlanError(
            f"{row.name} is at version {task.version}; this run asked version {row.version}"
        )
    return task


def _rewrite(path: Path, samples: Sequence[Sample]) -> None:
    """Put marked samples in place of the file, whole or not at all."""
    if not samples:
        return
    part = path.with_name(path.name + ".part")
    with part.open("wb") as opened:
        opened.writelines(msgspec.json.encode(sample) + b"\n" for sample in samples)
        opened.flush()
        os.fsync(opened.fileno())
    part.replace(path)
