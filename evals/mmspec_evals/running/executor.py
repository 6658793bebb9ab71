"""The loop of a run: document by document, method by method, one sample written after another."""

from __future__ import annotations

import gc
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mmspec_evals.errors import PlanError
from mmspec_evals.method import UnsupportedError
from mmspec_evals.running.journal import told
from mmspec_evals.running.plan import VANILLA
from mmspec_evals.running.prepare import prompt_sha
from mmspec_evals.running.scoring import FAILED, mark
from mmspec_evals.running.turns import Cases, Conversation, Warmth
from mmspec_evals.trace import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec_evals.method import Case, Method
    from mmspec_evals.running.bench import Bench
    from mmspec_evals.running.journal import Journal
    from mmspec_evals.running.order import Cell, Group
    from mmspec_evals.running.plan import Plan
    from mmspec_evals.trace import Audit

PATIENCE = 3  # out-of-memory failures in a row after which a method is not tried again


class Watching(Protocol):
    """Is told of every sample, for a progress bar."""

    def begin(self, cell: Cell) -> None:
        """This one is about to be measured."""
        ...

    def end(self, cell: Cell, sample: Sample) -> None:
        """It was, and stands on disk."""
        ...


@dataclass(slots=True)
class Executor:
    """Measures cells in the order given.

    Attributes:
        score: mark answers at once; else ``mmspec-eval score`` does it later.
        exhausted: by method, how often in a row its memory ran out.
    """

    plan: Plan
    bench: Bench
    journal: Journal
    watch: Watching
    score: bool = True
    exhausted: dict[str, int] = field(default_factory=dict)
    _warmth: Warmth = field(init=False)

    def __post_init__(self) -> None:
        self._warmth = Warmth(self.journal, self.plan.warm_up)

    def run(self, groups: Sequence[Group]) -> None:
        """Measure every cell; each is on disk before the next begins.

        Raises:
            PlanError: a method names a model that is not there.
        """
        gc.collect()
        gc.freeze()  # so that collecting between cells need not walk through all that is loaded
        try:
            for group in groups:
                self._group(group)
        finally:
            gc.unfreeze()

    def _group(self, group: Group) -> None:
        base = Conversation()  # plain decoding of this document, for the audit
        cases = self._cases(group.task, group.doc.id, group.repeat)
        for cell in group.cells:
            self.watch.begin(cell)
            sample, held = self._measure(cell, cases, base)
            if cell.arm.label == VANILLA and len(held.traces) == len(cases.doc.turns):
                base = held
            self.journal.sample(sample)
            self.watch.end(cell, sample)

    def _measure(self, cell: Cell, cases: Cases, base: Conversation) -> tuple[Sample, Conversation]:
        """One cell, whatever becomes of it."""
        method, held = self.bench.methods[cell.arm.method], Conversation()
        facts: dict[str, Any] = {}
        if self.exhausted.get(method.name, 0) >= PATIENCE:
            why = f"not tried: out of memory {PATIENCE} times in a row"
            return self._sample(cell, held, error=why, error_kind="oom"), held
        gc.collect()  # outside the clock; the clock itself keeps the collector off
        try:
            held.hold(method, cases, self._warmth, lambda: self._neighbour(cell))
            facts["audit"] = self._audit(base, held, method)
        except UnsupportedError as error:
            facts = {"error": str(error) or "unsupported", "error_kind": "unsupported"}
        except PlanError:
            raise
        except Exception as error:  # noqa: BLE001  # one failure must not end a run of hours
            facts = self._failed(cell, error)
        if facts.get("error_kind") != "oom":
            self.exhausted[method.name] = 0
        return self._marked(cell, self._sample(cell, held, **facts)), held

    def _failed(self, cell: Cell, error: Exception) -> dict[str, Any]:
        """What to write of an exception; memory it held is given back."""
        exhausted = is_out_of_memory(error)
        name = cell.arm.method
        self.journal.failure(
            "out of memory" if exhausted else "failed",
            error, task=cell.task, doc=cell.doc.id, method=cell.arm.label, repeat=cell.repeat,
        )  # fmt: skip
        if exhausted:
            self.exhausted[name] = self.exhausted.get(name, 0) + 1
            if self.exhausted[name] == PATIENCE:
                self.journal.event("stopped", method=name)
            # Their frames hold the tensors there was no room for.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            release()
        return {"error": told(error), "error_kind": "oom" if exhausted else "failed"}

    def _audit(self, base: Conversation, held: Conversation, method: Method) -> Audit | None:
        if self.bench.audit is None or not base.traces:
            return None
        try:
            return self.bench.audit(base.traces, held.traces, base.cases, method)
        except Exception as error:  # noqa: BLE001  # not the method's fault; results see it missing
            self.journal.failure("audit failed", error, method=method.name)
            return None

    def _marked(self, cell: Cell, sample: Sample) -> Sample:
        if not self.score or sample.error is not None:
            return sample
        doc = self.bench.shown[cell.task][cell.doc.id]
        try:
            return mark(sample, self.bench.tasks[cell.task], doc)
        except Exception as error:  # noqa: BLE001  # a scorer's fault; the answer is kept for later
            self.journal.failure("scoring failed", error, task=cell.task, doc=cell.doc.id)
            return msgspec.structs.replace(sample, error=told(error), error_kind=FAILED)

    def _sample(self, cell: Cell, held: Conversation, **facts: Any) -> Sample:
        cases = held.cases
        return Sample(
            key=cell.key,
            task=cell.task,
            task_version=self.bench.tasks[cell.task].version,
            method=cell.arm.label,
            repeat=cell.repeat,
            order=cell.order,
            doc_id=cell.doc.id,
            doc_sha=cell.doc.sha,
            cluster=cell.doc.cluster,
            prompt_sha=prompt_sha(cases[0].prompt) if cases else "",
            prompt_tokens=len(cases[0].prompt.ids) if cases else 0,
            truncated=max((case.truncated for case in cases), default=0),
            has_image=any(case.prompt.media for case in cases),
            traces=held.traces,
            session=self.journal.session,
            **facts,
        )

    def _cases(self, task: str, doc: str, repeat: int) -> Cases:
        bench = self.bench
        return Cases(bench.preparer, bench.tasks[task], bench.docs[task][doc], repeat)

    def _neighbour(self, cell: Cell) -> Case | None:
        """The first turn of another document of the same task, to warm up on."""
        ids = [doc.id for doc in self.plan.task(cell.task).docs]
        if len(ids) < 2:
            return None
        other = ids[(ids.index(cell.doc.id) + 1) % len(ids)]
        try:
            return self._cases(cell.task, other, cell.repeat).after(())
        except Exception:  # noqa: BLE001  # it will be told when its own turn comes
            return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, by type or in torch's words on the GPU and on the CPU."""
    named = type(error).__name__ == "OutOfMemoryError"
    said = re.search(r"CUDA out of memory|t allocate memory|not enough memory", str(error))
    return isinstance(error, MemoryError) or named or bool(said)


def release() -> None:
    """Give memory back that nothing uses."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
