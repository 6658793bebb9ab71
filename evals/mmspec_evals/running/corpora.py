"""Loading the documents of a run's tasks."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmspec_evals.errors import DataError, PlanError
from mmspec_evals.task import Want

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mmspec_evals.running.settings import Settings
    from mmspec_evals.task import Corpus, Task


def load(
    tasks: Sequence[Task], settings: Settings, count: Callable[[str], int]
) -> dict[str, Corpus]:
    """The documents of every task, by its name.

    Args:
        count: tokens of a text, for tasks that make documents of a given length.

    Raises:
        PlanError: ``--data`` names what no task reads. DataError: files are missing or wrong.
    """
    readable = {name for task in tasks for name in _names(task)}
    strange = sorted(set(settings.data) - readable)
    if strange:
        takes = ", ".join(sorted({task.data for task in tasks if task.data})) or "none"
        raise PlanError(f"--data: no task here reads {', '.join(strange)} (names read: {takes})")
    return {task.name: _load(task, settings, count) for task in tasks}


def _load(task: Task, settings: Settings, count: Callable[[str], int]) -> Corpus:
    given = [settings.data[name] for name in _names(task) if name in settings.data]
    share = settings.limit if settings.limit is not None and settings.limit < 1 else None
    want = Want(
        data=Path(given[0]).expanduser() if given else None,
        limit=None if share or settings.limit is None else int(settings.limit),
        seed=settings.seed,
        tokens=tuple(settings.tokens),
        count=count,
        prompts=Path(settings.prompts).expanduser() if settings.prompts else None,
        profile=settings.profile,
    )
    corpus = task.load(want)
    docs = corpus.docs
    if share:
        docs = docs[: math.ceil(share * len(docs))]
    if want.limit is not None:
        docs = docs[: want.limit]
    if not docs:
        raise DataError(f"{task.name} has no documents")
    twice = [name for name, times in Counter(doc.id for doc in docs).items() if times > 1]
    if twice:
        raise DataError(f"{task.name}: several documents are named {', '.join(twice[:5])}")
    return replace(corpus, docs=docs)


def _names(task: Task) -> tuple[str, ...]:
    """Names by which ``--data`` may mean this task, the closest first."""
    return (task.name, *((task.data,) if task.data else ()), task.group)
