"""A stage without models: methods that say what they are told, a task that marks words."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from mmspec_evals.doc import Doc, Text
from mmspec_evals.method import Case, UnsupportedError
from mmspec_evals.running.bench import Bench
from mmspec_evals.running.documents import read_docs, stored, write_docs
from mmspec_evals.running.executor import Executor
from mmspec_evals.running.journal import Journal, replace
from mmspec_evals.running.plan import (
    Generation,
    MetricRef,
    ModelPlan,
    Plan,
    Source,
    TaskPlan,
    arms_of,
    seal,
)
from mmspec_evals.running.resume import remaining
from mmspec_evals.task import Metric, Task
from mmspec_evals.trace import Audit, Seconds, Trace

from mmspec.core.request import Prompt, Sampling


class Scripted:
    """A method whose answer is a function of (prompt text, number of the call)."""

    lossless = True

    def __init__(self, name, say=lambda text, call: f"{text}!", settings=None):
        self.name, self.settings = name, settings or {"kind": "fake"}
        self._say = say
        self.asked: list[Case] = []

    def generate(self, case: Case) -> Trace:
        self.asked.append(case)
        said = self._say(case.text, len(self.asked))
        if isinstance(said, BaseException):
            raise said
        return Trace(
            text=said, tokens=len(said), finish_reason="stop", ids=list(said.encode()),
            seconds=Seconds(total=0.02, first=0.01, decode=0.01),
            prompt_tokens=len(case.prompt.ids), passes=len(said),
        )  # fmt: skip

    def close(self):
        pass


class Plain:
    """Prompts are the words of all turns and answers so far, one id a character."""

    def __init__(self):
        self.made = []

    def case(self, task, doc, turn=0, answers=(), repeat=0):
        self.made.append((doc.id, turn, tuple(answers)))
        said = [part.text for past in doc.turns[: turn + 1] for part in past]
        text = "|".join(x for pair in zip(said, [*answers, ""], strict=True) for x in pair if x)
        if "refuse" in text:
            raise UnsupportedError("too long")
        ids = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
        sampling = Sampling(temperature=0.0, max_tokens=task.max_new_tokens)
        return Case(Prompt(ids), sampling, None, text, 3 if "long" in text else 0)


def score(answers, doc):
    return {"right": float(answers[-1] == doc.target)}


def doc(name, *turns, target=None):
    turns = turns or (name,)
    return Doc(name, tuple((Text(turn),) for turn in turns), target or f"{name}!", name)


def task(name="words", stop=(), score=score, **options):
    return Task(
        name, 1, "both", "completion", 100, (Metric("right"),), lambda want: None, score,
        stop=stop, **options,
    )  # fmt: skip


def audit(plain, other, cases, method):
    same = [t.ids for t in plain] == [t.ids for t in other]
    return Audit(kind="exact" if same else "violation")


def make_plan(tasks, docs, methods, repeats=1, warm_up=0, seed=0):
    rows = {name: [stored(d) for d in held] for name, held in docs.items()}
    return seal(
        Plan(
            code="code",
            model=ModelPlan(
                path="m", fingerprint="f", dtype="float32", device="cpu", numerics="bitwise"
            ),
            generation=Generation(),
            profile="quality",
            seed=seed,
            repeats=repeats,
            warm_up=warm_up,
            arms=[a for m in methods for a in arms_of(m.name, dict(m.settings), m.lossless)],
            tasks=[
                TaskPlan(
                    name=t.name, version=t.version, profile=t.profile, style=t.style,
                    modality=t.modality, max_new_tokens=t.max_new_tokens, stop=list(t.stop),
                    metrics=[MetricRef(name="right", higher_is_better=True, percent=True)],
                    source=Source(kind="custom", path=None, sha256="", rows=1, prompts="own"),
                    docs=[row.ref for row in rows[t.name]],
                )
                for t in tasks
            ],
        )
    )  # fmt: skip


@dataclass
class Watch:
    """Remembers what was measured; may end the run as a crash would."""

    cells: list = field(default_factory=list)
    samples: list = field(default_factory=list)
    crash_after: int | None = None

    def begin(self, cell):
        if self.crash_after is not None and len(self.samples) == self.crash_after:
            raise KeyboardInterrupt
        self.cells.append(cell)

    def end(self, cell, sample):
        self.samples.append(sample)


def perform(root, methods, docs, tasks=None, session="s1", watch=None, score=True, **plan):
    """Run what is left in ``root``; the watch."""
    tasks = tasks or [task()]
    docs = docs if isinstance(docs, dict) else {tasks[0].name: docs}
    written = make_plan(tasks, docs, methods, **plan)
    journal, watch = Journal(root, session), watch or Watch()
    try:
        for name, held in docs.items():
            write_docs(root, name, [(d, stored(d)) for d in held])
        replace(root / "plan.json", written)
        journal.mend(written)
        bench = Bench(
            tasks={t.name: t for t in tasks},
            docs={name: {d.id: d for d in held} for name, held in docs.items()},
            shown={name: read_docs(root, name) for name in docs},
            methods={m.name: m for m in methods},
            preparer=Plain(),
            audit=audit,
        )
        Executor(written, bench, journal, watch, score).run(remaining(written, root))
    finally:
        journal.close()
    return watch
