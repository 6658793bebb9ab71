"""What a run will measure: ``plan.json``, written before the first sample and never after.

A plan holds everything that shapes an answer: two runs of one ``plan_hash`` measure the same
thing, so the second may go on where the first stopped. Cells are not stored, they follow from the
plan: see ``mmspec_evals.running.order``.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

VANILLA, LAST = "vanilla", "vanilla.last"


class DocRef(msgspec.Struct, frozen=True, kw_only=True):
    """One document: ``sha`` is over all that is shown and marked, its id and pictures included."""

    id: str
    sha: str
    cluster: str


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a task's documents came from, as its loader says; see ``mmspec_evals.task.Corpus``."""

    kind: str  # "official", "synthetic", "mini", "custom"
    path: str | None
    sha256: str
    rows: int
    prompts: str  # "own" or "official"
    note: str = ""


class MetricRef(msgspec.Struct, frozen=True, kw_only=True):
    """One number of a task; the first of a task is its headline."""

    name: str
    higher_is_better: bool
    percent: bool


class TaskPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One task as this run asks it; ``max_new_tokens`` is what is in force, for every method."""

    name: str
    version: int
    profile: str
    style: str
    modality: str
    max_new_tokens: int
    stop: list[str]
    metrics: list[MetricRef]
    source: Source
    docs: list[DocRef]


class ArmPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One thing measured. ``label`` names its samples; plain decoding has two labels.

    ``method`` is what runs: arms ``vanilla`` and ``vanilla.last`` are one method.
    """

    label: str
    method: str
    lossless: bool
    settings: dict[str, Any]


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """How every method decodes. ``max_new_tokens`` None takes each task's own."""

    temperature: float = 0.0
    top_p: float = 1.0
    ignore_eos: bool = False
    max_new_tokens: int | None = None
    max_context: int | None = None
    truncate: str = "context"  # or "official"
    official_tokens: int | None = None


class ModelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The target. ``fingerprint`` is over its configuration, tokenizer and weights."""

    path: str
    fingerprint: str
    dtype: str
    device: str
    numerics: str
    assistant: str | None = None
    assistant_fingerprint: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. ``code`` identifies the sources that measure (not those that only report)."""

    schema: int = 1
    plan_hash: str = ""
    code: str
    model: ModelPlan
    generation: Generation
    profile: str
    seed: int
    repeats: int
    warm_up: int = 2  # throwaway answers of each method before its first measured one
    arms: list[ArmPlan]
    tasks: list[TaskPlan]

    def task(self, name: str) -> TaskPlan:
        """The task of that name.

        Raises:
            KeyError: the plan has none.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(name)


def digest(value: Any) -> str:
    """SHA-256 of a value's JSON, keys sorted: equal values have equal digests anywhere."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def seal(plan: Plan) -> Plan:
    """The plan with the hash of everything else in it."""
    bare = msgspec.structs.replace(plan, plan_hash="")
    return msgspec.structs.replace(bare, plan_hash=digest(bare))


def arms_of(label: str, settings: dict[str, Any], lossless: bool) -> list[ArmPlan]:
    """The arms of one method: plain decoding is measured twice."""
    labels = [VANILLA, LAST] if label == VANILLA else [label]
    return [
        ArmPlan(label=one, method=label, lossless=lossless, settings=settings) for one in labels
    ]
