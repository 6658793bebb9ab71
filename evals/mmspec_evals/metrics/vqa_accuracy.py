"""VQA accuracy: an answer against those of ten people, averaged over leaving each of them out.

With k of ten people saying the same, the result is 0.3, 0.6, 0.9 for k = 1, 2, 3 and 1 from there.
The four functions differ in what they rewrite before comparing; see each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmspec_evals.metrics.textnorm_vqa import (
    evalai,
    evalai_punctuation,
    official_punctuation,
    one_line,
    plain_words,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

Answer = str | Mapping[str, Any]
PEOPLE = 10  # TextVQA's scorer refuses any other number of answers
ENOUGH = 3  # of the others, to be fully right


def vqa_accuracy_official(prediction: str, answers: Sequence[Answer]) -> float:
    """Accuracy of GT-Vision-Lab/VQA ``vqaEval.py``.

    Prediction and answers are rewritten only if the people disagree: against ten times "yes" the
    prediction "Yes" gets 0.

    Args:
        answers: texts, or rows of an annotation file. "The others" of a row are the rows that
            differ from it in anything, so rows without ``answer_id`` leave out their equals too.

    Raises:
        ZeroDivisionError: there are no answers, as officially.
    """
    rows, prediction = _one_lined(answers), one_line(prediction)
    if _disagree(rows):
        rows = [row | {"answer": plain_words(official_punctuation(row["answer"]))} for row in rows]
        prediction = plain_words(official_punctuation(prediction))
    return _without_equals(rows, prediction)


def vqav2_lmms_eval(prediction: str, answers: Sequence[Answer] | None) -> float:
    """Accuracy of lmms-eval's ``vqav2``: the prediction is always rewritten, answers as above.

    Without any answers known (a test split) the result is 0.

    Raises:
        ZeroDivisionError: the list of answers is empty (officially a StatisticsError).
    """
    prediction = evalai(prediction)
    if answers is None:
        return 0.0
    rows = _one_lined(answers)
    if _disagree(rows):
        rows = [row | {"answer": plain_words(evalai_punctuation(row["answer"]))} for row in rows]
        prediction = plain_words(evalai_punctuation(prediction))
    return _without_equals(rows, prediction)


def textvqa_m4c(prediction: str, answers: Sequence[str]) -> float:
    """Accuracy of LLaVA's ``m4c_evaluator.py``: everything is rewritten, always.

    Raises:
        ValueError: there are not ten answers (officially an assertion).
    """
    if len(answers) != PEOPLE:
        raise ValueError(f"TextVQA's scorer takes {PEOPLE} answers, got {len(answers)}")
    return textvqa_lmms_eval(prediction, answers)


def textvqa_lmms_eval(prediction: str, answers: Sequence[str] | None) -> float:
    """Accuracy of lmms-eval's ``textvqa``, ``vizwiz_vqa`` and ``okvqa``: any number of answers.

    Raises:
        ZeroDivisionError: the list of answers is empty (officially a StatisticsError; VizWiz 0).
    """
    wanted = evalai(prediction)
    if answers is None:
        return 0.0
    same = sum(evalai(answer) == wanted for answer in answers)
    left_out_right = min(1.0, (same - 1) / ENOUGH) if same else 0.0
    left_out_wrong = min(1.0, same / ENOUGH)
    count = len(answers)
    return (same * left_out_right + (count - same) * left_out_wrong) / count


def _one_lined(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        dict(answer) if isinstance(answer, Mapping) else {"answer": answer, "answer_id": index}
        for index, answer in enumerate(answers)
    ]
    return [row | {"answer": one_line(row["answer"])} for row in rows]


def _disagree(rows: Sequence[Mapping[str, Any]]) -> bool:
    return len({row["answer"] for row in rows}) > 1


def _without_equals(rows: Sequence[Mapping[str, Any]], prediction: str) -> float:
    marks = []
    for left_out in rows:
        same = sum(row != left_out and row["answer"] == prediction for row in rows)
        marks.append(min(1.0, same / ENOUGH))
    return sum(marks) / len(marks)
