"""Carrying out ``mmspec-eval run``: plan, folder, environment, executor; loads torch."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers.utils import logging

from mmspec_evals.doc import Text
from mmspec_evals.errors import PlanError
from mmspec_evals.running import dry, environment, resume
from mmspec_evals.running.documents import read_docs
from mmspec_evals.running.executor import Executor
from mmspec_evals.running.journal import Journal, replace
from mmspec_evals.running.pace import Pace
from mmspec_evals.running.planning import make_ready
from mmspec_evals.running.progress import Progress

if TYPE_CHECKING:
    from mmspec_evals.doc import Doc
    from mmspec_evals.running.order import Group
    from mmspec_evals.running.planning import Ready
    from mmspec_evals.running.settings import Settings

PICTURE = 2000  # characters a picture counts for, where time is foretold


@dataclass(frozen=True, slots=True)
class Flow:
    """How to go about a run; nothing here changes what is measured.

    Attributes:
        resume: go on in a folder that holds a run. force: even if that run was another.
        score: mark answers at once.
    """

    resume: bool = False
    force: bool = False
    score: bool = True


def preview(settings: Settings) -> str:
    """What ``--dry-run`` prints."""
    ready = make_ready(settings)
    return dry.preview(ready.plan, ready.tasks, dict(ready.corpora), ready.preparer)


def measure(settings: Settings, flow: Flow = Flow()) -> int:
    """Measure what a run lacks; samples, plan and environment are in its folder afterwards.

    Returns:
        Cells that failed (those that a method cannot do are not failures).

    Raises:
        PlanError, DataError: what is asked does not exist, or the folder is taken.
        MixedRunError: the folder holds another run.
    """
    root, session = Path(settings.out), secrets.token_hex(6)
    if resume.started(root) and not flow.resume:
        raise PlanError(f"{root} holds a run: add --resume to go on, or name another --out")
    logging.disable_progress_bar()  # ours is enough
    ready = make_ready(settings)
    journal = Journal(root, session)
    try:
        open_folder(root, ready, session, flow)
        journal.mend(ready.plan)
        left = resume.remaining(ready.plan, root)
        journal.event("start", plan=ready.plan.plan_hash, documents=len(left))
        _execute(ready, journal, left, score=flow.score)
        failed = resume.failures(ready.plan, root)
        journal.event("end", failed=failed)
    finally:
        ready.close()
        journal.close()
    return failed


def open_folder(root: Path, ready: Ready, session: str, flow: Flow) -> None:
    """Write plan, documents and environment, or hold those that are there against them.

    Raises:
        MixedRunError: they differ, and it is not forced.
    """
    if ready.models.config.model.threads is not None:
        torch.set_num_threads(ready.models.config.model.threads)
    model = ready.plan.model
    machine = environment.machine(model.device, model.dtype, model.numerics)
    found = environment.Environment(
        fingerprint=environment.fingerprint(machine),
        machine=machine,
        sessions=[environment.session(session)],
    )
    if resume.started(root):
        found = resume.check(root, ready.plan, found, force=flow.force)
    ready.keep_docs(root)
    replace(root / "env.json", found)
    replace(root / "plan.json", ready.plan)  # last: a folder with a plan is whole


def _execute(ready: Ready, journal: Journal, left: list[Group], *, score: bool) -> None:
    plan = ready.plan
    shown = {task.name: read_docs(journal.layout.root, task.name) for task in plan.tasks}
    sizes = {(name, doc.id): size(doc) for name, docs in shown.items() for doc in docs.values()}
    caps = {task.name: task.max_new_tokens for task in plan.tasks}
    cells = [cell for group in left for cell in group.cells]
    with Progress(len(cells), Pace(cells, sizes, caps)) as progress:
        Executor(plan, ready.bench(shown), journal, progress, score).run(left)


def size(doc: Doc) -> int:
    """Characters of a document, a guess at its tokens."""
    parts = [part for turn in doc.turns for part in turn]
    return sum(len(part.text) if isinstance(part, Text) else PICTURE for part in parts)
