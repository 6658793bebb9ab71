"""How the tasks are marked: by the official rule, then, where it misjudges, by a lenient one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmspec_evals.metrics import infinitebench
from mmspec_evals.metrics.infinitebench_lenient import RULES, lenient
from mmspec_evals.task import Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec_evals.doc import Doc

_NAMES = {
    "longbook_sum_eng": "rouge_lsum",
    "longbook_qa_eng": "f1",
    "longbook_qa_chn": "f1",
    "math_calc": "right_share",
}


@dataclass(frozen=True, slots=True)
class Marks:
    """The metrics of one task, and its scorer (called as a function)."""

    task: str

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The official metric, and its lenient sister where there is one."""
        name = _NAMES.get(self.task, "accuracy")
        more = (Metric(f"{name}_lenient"),) if self.task in RULES else ()
        return (Metric(name), *more)

    def __call__(self, answers: tuple[str, ...], doc: Doc) -> Mapping[str, float]:
        """Scores of one answer; where the official scorer would stop, 0."""
        answer = answers[0] if answers else ""
        try:
            official = infinitebench.official(self.task, answer, doc.target)
        except infinitebench.RAISES:
            official = 0.0
        scores = {self.metrics[0].name: official}
        eased = lenient(self.task, answer, doc.target, doc.fields.get("options", ()))
        if eased is not None:
            scores[self.metrics[1].name] = eased
        return scores
