"""From settings to a plan and everything it takes to carry it out; loads torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mmspec.core.config import Config, load
from mmspec.model.load import load_spec
from mmspec_evals.methods.build import Options, build_methods
from mmspec_evals.methods.models import Models
from mmspec_evals.registry import find
from mmspec_evals.running import corpora, fingerprint
from mmspec_evals.running.audit import audit_turns
from mmspec_evals.running.bench import Bench
from mmspec_evals.running.documents import stored, write_docs
from mmspec_evals.running.judge import EngineJudge
from mmspec_evals.running.plan import (
    VANILLA,
    Generation,
    MetricRef,
    ModelPlan,
    Plan,
    Source,
    TaskPlan,
    arms_of,
    seal,
)
from mmspec_evals.running.prepare import Asked, Preparer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmspec.core.config import ModelConfig
    from mmspec_evals.doc import Doc
    from mmspec_evals.method import Case, Method
    from mmspec_evals.running.documents import StoredDoc
    from mmspec_evals.running.settings import Settings
    from mmspec_evals.task import Corpus, Task
    from mmspec_evals.trace import Audit, Trace


KEY = "MMSPEC_EVAL_API_KEY"  # environment variable: bearer token of servers under test


@dataclass(frozen=True, slots=True)
class Ready:
    """A run that can start: nothing of the target's weights is loaded yet.

    Attributes:
        rows: documents as they are kept, by task.
    """

    plan: Plan
    models: Models
    methods: Sequence[Method]
    tasks: Sequence[Task]
    corpora: Mapping[str, Corpus]
    rows: Mapping[str, Sequence[StoredDoc]]
    preparer: Preparer

    def keep_docs(self, root: Path) -> None:
        """Write the documents beside the plan."""
        for name, rows in self.rows.items():
            write_docs(root, name, zip(self.corpora[name].docs, rows, strict=True))

    def bench(self, shown: Mapping[str, Mapping[str, Doc]]) -> Bench:
        """What an executor needs; ``shown`` are the documents as read back."""
        audited = any(method.name == VANILLA for method in self.methods)
        return Bench(
            tasks={task.name: task for task in self.tasks},
            docs={name: {d.id: d for d in c.docs} for name, c in self.corpora.items()},
            shown=shown,
            methods={method.name: method for method in self.methods},
            preparer=self.preparer,
            audit=self._audit if audited else None,
        )

    def close(self) -> None:
        """Give methods and models back."""
        for method in self.methods:
            method.close()
        self.models.close()

    def _audit(
        self, plain: Sequence[Trace], other: Sequence[Trace], cases: Sequence[Case], method: Method
    ) -> Audit | None:
        return audit_turns(
            plain,
            other,
            cases,
            EngineJudge(self.models.engine),
            lossless=method.lossless,
            ours=method.settings.get("kind") == "engine",
        )


def make_ready(settings: Settings) -> Ready:
    """Find tasks, load documents and tokenizer, describe methods, and write it all into a plan.

    Raises:
        PlanError: what is asked does not exist or does not fit. DataError: documents are missing.
    """
    tasks = find(settings.tasks)
    models = Models(engine_config(settings))
    options = Options(assistant=settings.assistant, url_key=os.environ.get(KEY))
    methods = build_methods(settings.methods, models, options)
    processor = models.processor
    found = corpora.load(tasks, settings, lambda text: len(processor.offsets(text)))
    rows = {name: [stored(doc) for doc in corpus.docs] for name, corpus in found.items()}
    plan = Plan(
        code=fingerprint.code(),
        model=_model(settings, models),
        generation=Generation(
            temperature=settings.temperature,
            top_p=settings.top_p,
            ignore_eos=settings.ignore_eos,
            max_new_tokens=settings.max_new_tokens,
            max_context=models.context,
            truncate=settings.truncate,
            official_tokens=settings.official_tokens,
        ),
        profile=settings.profile,
        seed=settings.seed,
        repeats=settings.repeats,
        warm_up=settings.warm_up,
        arms=[arm for m in methods for arm in arms_of(m.name, _plain(m), m.lossless)],
        tasks=[_task(task, settings, found[task.name], rows[task.name]) for task in tasks],
    )
    asked = Asked(
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=settings.seed,
        max_new_tokens=settings.max_new_tokens,
        ignore_eos=settings.ignore_eos,
        truncate=settings.truncate,
        official_tokens=settings.official_tokens,
    )
    preparer = Preparer(processor, models.context, asked)
    return Ready(seal(plan), models, methods, tasks, found, rows, preparer)


def engine_config(settings: Settings) -> Config:
    """The engine's file, if there is one, with this run's words over it.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    path = settings.engine_config
    config = load(Path(path)) if path else Config()
    said = {
        name: getattr(settings, name)
        for name in ("dtype", "device", "numerics", "max_context", "threads")
        if getattr(settings, name) is not None
    }
    if settings.model is not None:
        said["path"] = settings.model
    return msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, **said))


def _model(settings: Settings, models: Models) -> ModelPlan:
    config = models.config.model
    helper = settings.assistant
    return ModelPlan(
        path=config.path,
        fingerprint=fingerprint.model(config.path),
        dtype=_dtype(config),
        device=config.device,
        numerics=config.numerics,
        assistant=helper,
        assistant_fingerprint=fingerprint.model(helper) if helper else None,
    )


def _dtype(config: ModelConfig) -> str:
    """The arithmetic in force: what the checkpoint says where the user says nothing."""
    if config.dtype != "auto":
        return config.dtype
    return str(load_spec(config).dtype or "float32").removeprefix("torch.")


def _plain(method: Method) -> dict[str, object]:
    """Settings as JSON would give them back, so that a plan read again has the same hash."""
    plain: dict[str, object] = msgspec.json.decode(msgspec.json.encode(dict(method.settings)))
    return plain


def _task(task: Task, settings: Settings, corpus: Corpus, rows: Sequence[StoredDoc]) -> TaskPlan:
    return TaskPlan(
        name=task.name,
        version=task.version,
        profile=task.profile,
        style=task.style,
        modality=task.modality,
        max_new_tokens=settings.max_new_tokens or _cap(task, rows),
        stop=list(task.stop),
        metrics=[
            MetricRef(name=m.name, higher_is_better=m.higher_is_better, percent=m.percent)
            for m in task.metrics
        ],
        source=Source(
            kind=corpus.kind,
            path=corpus.path,
            sha256=corpus.sha256,
            rows=corpus.rows,
            prompts=corpus.prompts,
            note=corpus.note,
        ),
        docs=[row.ref for row in rows],
    )


def _cap(task: Task, rows: Sequence[StoredDoc]) -> int:
    """The longest answer of any document: one's own cap goes before its task's."""
    caps = (row.fields.get("max_new_tokens", task.max_new_tokens) for row in rows)
    return max(caps, default=task.max_new_tokens)
