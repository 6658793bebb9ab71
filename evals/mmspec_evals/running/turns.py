"""One document answered by one method, turn after turn, each with the method's own history."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from mmspec_evals.errors import PlanError
from mmspec_evals.method import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec_evals.doc import Doc
    from mmspec_evals.method import Case, Method
    from mmspec_evals.running.bench import Preparing
    from mmspec_evals.running.journal import Journal
    from mmspec_evals.task import Task
    from mmspec_evals.trace import Trace

WARM_TOKENS = 64  # of a warm-up's answer: enough for every kind of step, few enough to be cheap
JUMP = 2.0  # a prompt this many times longer or shorter than any before calls for another


@dataclass(slots=True)
class Cases:
    """Prepared turns of one document in one repeat, shared by methods with equal histories."""

    preparer: Preparing
    task: Task
    doc: Doc
    repeat: int
    made: dict[tuple[str, ...], Case | UnsupportedError] = field(default_factory=dict)

    def after(self, answers: tuple[str, ...]) -> Case:
        """The turn that follows these answers.

        Raises:
            UnsupportedError: it does not fit the context, or the target cannot read it.
        """
        found = self.made.get(answers)
        if found is None:
            try:
                found = self.preparer.case(
                    self.task, self.doc, len(answers), answers, repeat=self.repeat
                )
            except UnsupportedError as error:
                found = error
            self.made[answers] = found
        if isinstance(found, UnsupportedError):
            raise found
        return found


@dataclass(slots=True)
class Warmth:
    """Which methods have run on which lengths of prompt: the first calls of a kind do not count.

    Attributes:
        calls: throwaway answers before a method's first measured one.
        spans: shortest and longest warm prompt, by method and by whether there are pictures.
    """

    journal: Journal
    calls: int
    spans: dict[tuple[str, bool], tuple[int, int]] = field(default_factory=dict)

    def ensure(self, method: Method, case: Case, other: Callable[[], Case | None]) -> None:
        """Warm a method up for this case if its kind of prompt is new to it.

        Args:
            other: a second document's case, if there is one.
        """
        if not self.calls:
            return
        kind, length = (method.name, bool(case.prompt.media)), len(case.prompt.ids)
        span = self.spans.get(kind)
        if span is not None and span[0] <= length * JUMP and length <= span[1] * JUMP:
            return
        fresh = span is None
        low, high = span or (length, length)
        self.spans[kind] = (min(low, length), max(high, length))
        second = (other() if self.calls > 1 else None) or case
        turns = [case, second] * self.calls
        for turn in turns[: self.calls if fresh else 1]:
            self._run(method, turn)
        if fresh:  # what is loaded by now stays: later collections need not walk through it
            gc.collect()
            gc.freeze()

    def _run(self, method: Method, case: Case) -> None:
        """One throwaway answer; its failure will show where it is measured.

        Raises:
            PlanError: the method has no model to answer with.
        """
        cap = min(case.sampling.max_tokens or WARM_TOKENS, WARM_TOKENS)
        short = replace(case, sampling=msgspec.structs.replace(case.sampling, max_tokens=cap))
        try:
            method.generate(short)
        except UnsupportedError:
            return
        except PlanError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the measured call meets it too
            self.journal.failure("warm-up failed", error, method=method.name)
        else:
            tokens = len(case.prompt.ids)
            self.journal.event("warm-up", method=method.name, prompt_tokens=tokens)


@dataclass(slots=True)
class Conversation:
    """What a method has said to one document so far, and to what."""

    cases: list[Case] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)

    def hold(
        self,
        method: Method,
        cases: Cases,
        warmth: Warmth,
        other: Callable[[], Case | None],
    ) -> None:
        """Answer every turn; what was said before an exception stays.

        Raises:
            UnsupportedError: this method or this target cannot. Whatever the method raises.
        """
        for _ in cases.doc.turns:
            case = cases.after(tuple(trace.text for trace in self.traces))
            self.cases.append(case)
            warmth.ensure(method, case, other)
            self.traces.append(method.generate(case))
