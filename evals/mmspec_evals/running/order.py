"""The order of measuring: which methods answer a document, one after another.

Plain decoding is measured twice on every document: before all others (``vanilla``) and after them
(``vanilla.last``). Both bracket the others, so their ratio shows how far the machine drifted while
this document was measured, and their mean is a fair base. The others take turns: over as many
documents as there are methods each stands once in every place, and the succession is drawn anew for
the next as many. Repeats go over everything again, one whole pass after another.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from mmspec_evals.running.plan import LAST, VANILLA, digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmspec_evals.running.plan import ArmPlan, DocRef, Plan, TaskPlan


@dataclass(frozen=True, slots=True)
class Cell:
    """One (document, arm, repeat).

    Attributes:
        key: identity for resuming. order: place among the document's arms.
    """

    key: str
    task: str
    doc: DocRef
    arm: ArmPlan
    repeat: int
    order: int


@dataclass(frozen=True, slots=True)
class Group:
    """One document in one repeat: its cells in the order in which they are measured."""

    task: str
    doc: DocRef
    repeat: int
    cells: tuple[Cell, ...]


def groups(plan: Plan) -> Iterator[Group]:
    """Everything the plan asks, in order."""
    for repeat in range(plan.repeats):
        for task in plan.tasks:
            for index, doc in enumerate(task.docs):
                yield _group(plan, task, doc, index, repeat)


def labels(plan: Plan, task: str, index: int, repeat: int) -> list[str]:
    """The succession of arms on the document at ``index`` of a task."""
    named = [arm.label for arm in plan.arms]
    others = [label for label in named if label not in {VANILLA, LAST}]
    if others:
        block, place = divmod(index, len(others))
        draw = random.Random(f"{plan.seed} {task} {repeat} {block}")
        draw.shuffle(others)
        others = others[place:] + others[:place]
    first = [VANILLA] if VANILLA in named else []
    last = [LAST] if LAST in named else []
    return [*first, *others, *last]


def _group(plan: Plan, task: TaskPlan, doc: DocRef, index: int, repeat: int) -> Group:
    arms = {arm.label: arm for arm in plan.arms}
    cells = [
        Cell(_key(plan, task, doc, arms[label], repeat), task.name, doc, arms[label], repeat, place)
        for place, label in enumerate(labels(plan, task.name, index, repeat))
    ]
    return Group(task.name, doc, repeat, tuple(cells))


def _key(plan: Plan, task: TaskPlan, doc: DocRef, arm: ArmPlan, repeat: int) -> str:
    return digest(
        {
            "task": [
                task.name,
                task.version,
                task.stop,
            ],  # the cap: the document's, or generation's
            "doc": doc.sha,
            "arm": [arm.label, arm.method, arm.settings],
            "generation": msgspec.to_builtins(plan.generation),
            "seed": plan.seed,
            "model": plan.model.fingerprint,
            "repeat": repeat,
        }
    )
