"""Finding tasks by name: every module of ``mmspec_evals.tasks`` lists its own in ``TASKS``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

import mmspec_evals.tasks
from mmspec_evals.errors import PlanError

if TYPE_CHECKING:
    from mmspec_evals.task import Task


@cache
def all_tasks() -> dict[str, Task]:
    """Every task by name, in the order of its module's list, modules by name."""
    found: dict[str, Task] = {}
    for module in pkgutil.walk_packages(mmspec_evals.tasks.__path__, "mmspec_evals.tasks."):
        tasks: tuple[Task, ...] = getattr(importlib.import_module(module.name), "TASKS", ())
        for task in tasks:
            if task.name in found:
                raise PlanError(f"two tasks are named {task.name}")
            found[task.name] = task
    return found


def find(names: list[str]) -> list[Task]:
    """Tasks for a list of names, groups and aliases, each once, in the order asked.

    Raises:
        PlanError: a name means nothing; the message lists what is near.
    """
    tasks = all_tasks()
    chosen: dict[str, Task] = {}
    for name in names:
        matches = [
            task for task in tasks.values() if name in {task.name, task.group, *task.aliases}
        ]
        if not matches:
            groups = sorted({task.group for task in tasks.values()})
            raise PlanError(f"no task is named {name!r}; groups: {', '.join(groups)}")
        chosen.update((task.name, task) for task in matches)
    return list(chosen.values())
