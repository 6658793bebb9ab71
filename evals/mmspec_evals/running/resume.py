"""What is left of a plan, and whether a run may go on at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from mmspec_evals.errors import DataError, MixedRunError
from mmspec_evals.running.environment import Environment, differences
from mmspec_evals.running.layout import Layout, read_plan, read_samples
from mmspec_evals.running.order import groups
from mmspec_evals.running.plan import LAST, VANILLA
from mmspec_evals.running.scoring import FAILED

if TYPE_CHECKING:
    from pathlib import Path

    from mmspec_evals.running.order import Group
    from mmspec_evals.running.plan import Plan

_SETTLED = (None, "unsupported", FAILED)  # nothing would come of generating these again


def remaining(plan: Plan, root: Path) -> list[Group]:
    """Documents that lack an arm, with the cells to measure.

    Seconds of different process starts are not compared, so a document that lacks any arm has plain
    decoding measured again, first and last, beside what it lacks.
    """
    done = settled(plan, root)
    left = []
    for group in groups(plan):
        missing = {cell.key for cell in group.cells if cell.key not in done}
        if missing:
            again = [c for c in group.cells if c.key in missing or c.arm.label in (VANILLA, LAST)]
            left.append(replace(group, cells=tuple(again)))
    return left


def started(root: Path) -> bool:
    """Whether a folder holds a run."""
    return Layout(root).plan.is_file()


def failures(plan: Plan, root: Path) -> int:
    """Cells that failed and were not measured since."""
    layout, failed = Layout(root), set()
    for task in plan.tasks:
        for arm in plan.arms:
            for repeat in range(plan.repeats):
                samples = read_samples(layout.samples(task.name, arm.label, repeat))
                well = {s.key for s in samples if s.error_kind in (None, "unsupported")}
                failed |= {s.key for s in samples} - well
    return len(failed)


def settled(plan: Plan, root: Path) -> set[str]:
    """Keys of cells that need not be measured again."""
    layout = Layout(root)
    return {
        sample.key
        for task in plan.tasks
        for arm in plan.arms
        for repeat in range(plan.repeats)
        for sample in read_samples(layout.samples(task.name, arm.label, repeat))
        if sample.error_kind in _SETTLED
    }


def check(root: Path, plan: Plan, now: Environment, *, force: bool) -> Environment:
    """The environment of the run that goes on: earlier sessions, this one, and what differs.

    Raises:
        MixedRunError: another plan or another machine, and not forced. DataError: no run there.
    """
    before, earlier = read_plan(root), _environment(root)
    found = _of_plan(before, plan) + differences(earlier.machine, now.machine)
    if found and not force:
        raise MixedRunError(
            f"{root} was measured otherwise ({'; '.join(found)}); --force goes on and marks it"
        )
    return msgspec.structs.replace(
        now,
        sessions=[*earlier.sessions, *now.sessions],
        mixed=list(dict.fromkeys([*earlier.mixed, *found])),
    )


def _of_plan(before: Plan, now: Plan) -> list[str]:
    """What differs between plans, in words; empty when their hashes agree."""
    if before.plan_hash == now.plan_hash:
        return []
    names = {"code": "the code", "model": "the model", "generation": "generation settings",
             "arms": "methods or their settings", "tasks": "tasks or documents",
             "seed": "the seed", "repeats": "repeats", "profile": "the profile"}  # fmt: skip
    changed = [said for name, said in names.items() if getattr(before, name) != getattr(now, name)]
    return [f"{' and '.join(changed) or 'the plan'} changed"]


def _environment(root: Path) -> Environment:
    path = Layout(root).env
    try:
        return msgspec.json.decode(path.read_bytes(), type=Environment)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{path}: {error}") from error
