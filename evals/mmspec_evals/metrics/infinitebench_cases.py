"""Free-standing rows of InfiniteBench: the official score of an answer and its label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec_evals.metrics import infinitebench
from mmspec_evals.metrics.cases import CaseScore
from mmspec_evals.metrics.infinitebench_names import official_name

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANSWERS = ("prediction", "pred")
_LABELS = ("ground_truth", "label", "answers", "answer")
_CHOICES = ("longbook_choice_eng", "code_debug")


def score_case(row: Mapping[str, Any]) -> CaseScore:
    """The official score of one row; 0, saying why, where the official scorer stops.

    A row has ``task`` (or ``metric``, ``dataset``) in any spelling, ``prediction``,
    ``ground_truth`` exactly as the scorer gets it, and perhaps ``model_name``. With ``options``, a
    choice's label may be the option's text alone.
    """
    spelt = next((row[name] for name in ("task", "metric", "dataset") if row.get(name)), None)
    task = official_name(spelt) if isinstance(spelt, str) else None
    if task is None:
        return CaseScore(score=0.0, error=f"InfiniteBench has no task {spelt!r}")
    answer = next((name for name in _ANSWERS if name in row), None)
    label = next((name for name in _LABELS if name in row), None)
    if answer is None or label is None:
        missing = (_ANSWERS if answer is None else _LABELS)[0]
        return CaseScore(score=0.0, error=f"the row has no {missing!r}")
    try:
        right = row[label]
        if task in _CHOICES and row.get("options"):
            right = with_letter(right, row["options"])
        model = str(row.get("model_name", ""))
        return CaseScore(score=infinitebench.official(task, row[answer], right, model))
    except infinitebench.RAISES as error:
        why = f"the official scorer stops here: {type(error).__name__}: {error}"
        return CaseScore(score=0.0, error=why)


def with_letter(answer: Any, options: list[str]) -> list[str]:
    """The label of a choice, (text, letter), from its text; of equal options, the first.

    Raises:
        ValueError: it is not among the options, or no text.
    """
    if isinstance(answer, list) and len(answer) == 2 and answer[1] in {"A", "B", "C", "D"}:
        return answer
    text = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    if not isinstance(text, str):
        raise ValueError(f"the answer is no text: {str(answer)[:60]!r}")
    return [text, "ABCD"[options.index(text)]]
