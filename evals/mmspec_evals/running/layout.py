"""The folder of a run, and how its lines are read.

::

    OUT/plan.json      Plan (running/plan.py): tasks, documents, arms, model, generation
    OUT/env.json       Environment (running/environment.py): machine, versions, sessions, mixed
    OUT/log.jsonl      what happened, a JSON object a line: {"time", "session", "event", ...}
    OUT/docs/<task>.jsonl               the documents as scored (running/documents.py)
    OUT/samples/<task>/<method>.r<k>.jsonl   one Sample a line (trace.py), in the order measured
    OUT/results.json, OUT/report.md     made from the above by mmspec_evals.results

A ``/`` of a task's name is written ``__``; ``<method>`` is an arm's label (``vanilla.last`` too).
Sample lines are appended and synced one by one. A key may stand on several lines: a cell that
failed and was tried again, or plain decoding measured again in a later session (process start) so
that every session's seconds have a base of their own. Lines end in one newline byte; a last line
without it was cut short by a crash and does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from mmspec_evals.errors import DataError
from mmspec_evals.running.plan import Plan
from mmspec_evals.trace import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths inside the folder of one run."""

    root: Path

    @property
    def plan(self) -> Path:
        """What was to be measured."""
        return self.root / "plan.json"

    @property
    def env(self) -> Path:
        """On what it was measured."""
        return self.root / "env.json"

    @property
    def log(self) -> Path:
        """What happened."""
        return self.root / "log.jsonl"

    @property
    def results(self) -> Path:
        """What came out."""
        return self.root / "results.json"

    def docs(self, task: str) -> Path:
        """The documents of a task."""
        return self.root / "docs" / f"{folder(task)}.jsonl"

    def texts(self) -> Path:
        """Long texts of documents, each once, by digest."""
        return self.root / "docs" / "texts"

    def samples(self, task: str, label: str, repeat: int) -> Path:
        """The samples of one arm of a task."""
        return self.root / "samples" / folder(task) / f"{label}.r{repeat}.jsonl"


def folder(task: str) -> str:
    """A task's name as a file's."""
    return task.replace("/", "__")


def read_plan(root: Path) -> Plan:
    """The plan of a run.

    Raises:
        DataError: there is none, or it is of another version.
    """
    path = Layout(root).plan
    if not path.is_file():
        raise DataError(f"no run in {root}: {path.name} is missing")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: {error}") from error


def read_samples(path: Path) -> list[Sample]:
    """Every whole line of a samples file, in order; none if there is no file.

    Raises:
        DataError: a line before the last is not a sample.
    """
    if not path.is_file():
        return []
    samples = []
    decoder = msgspec.json.Decoder(Sample)
    for number, line in enumerate(lines(path.read_bytes()), 1):
        try:
            samples.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise DataError(f"{path}:{number}: {error}") from error
    return samples


def all_samples(root: Path, plan: Plan, task: str) -> list[Sample]:
    """The samples of one task, arm by arm as planned, repeats in order."""
    layout = Layout(root)
    return [
        sample
        for arm in plan.arms
        for repeat in range(plan.repeats)
        for sample in read_samples(layout.samples(task, arm.label, repeat))
    ]


def lines(data: bytes) -> Iterator[bytes]:
    """Lines that end in a newline byte (texts may hold other separators); blank ones left out."""
    *whole, _ = data.split(b"\n")
    return (line for line in whole if line.strip())
