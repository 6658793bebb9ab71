"""HallusionBench without a judge: an answer means yes if "yes" stands anywhere in it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def hallusionbench_yes(prediction: str, answer: str | int) -> float:
    """1 if the prediction's reading is the answer ("1" for yes, "0" for no), else 0.

    "Yesterday" is yes; whatever has no "yes" in it is no.
    """
    return float(("1" if "yes" in prediction.lower() else "0") == str(answer))


def hallusionbench(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Shares of right answers (aAcc), questions (qAcc) and figures (fAcc), as lmms-eval has them.

    A question is right if it is answered rightly for every figure of its set, a figure if all
    questions on it are.

    Args:
        rows: ``prediction``, ``gt_answer`` (or ``answer``), ``category``, ``subcategory``,
            ``set_id``, ``question_id``, ``figure_id``.

    Raises:
        ZeroDivisionError: there are no rows.
    """
    marks, questions, figures = [], defaultdict(list), defaultdict(list)
    for row in rows:
        answer = row["gt_answer"] if "gt_answer" in row else row["answer"]
        right = hallusionbench_yes(row["prediction"], answer)
        sets = (row["category"], row["subcategory"], str(row["set_id"]))
        marks.append(right)
        questions[(*sets, str(row["question_id"]))].append(right)
        figures[(*sets, str(row["figure_id"]))].append(right)
    return {
        "aAcc": sum(marks) / len(marks),
        "qAcc": sum(map(min, questions.values())) / len(questions),
        "fAcc": sum(map(min, figures.values())) / len(figures),
    }
