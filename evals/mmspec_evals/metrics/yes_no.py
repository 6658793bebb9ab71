"""Yes or no: MME and POPE, by lmms-eval's rules and LLaVA's."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MME_COGNITION = (
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
)


def mme_parse(text: str) -> Literal["yes", "no", "other"]:
    """What lmms-eval takes an answer for: by itself, by its initial, or by its first 4 characters.

    "Not sure" is no, "eyes" is yes, an empty answer is neither.
    """
    text = text.lower().strip().replace(".", "")
    if len(text) == 1:
        return "yes" if text == "y" else "no" if text == "n" else "other"
    if "yes" in text[:4]:
        return "yes"
    return "no" if "no" in text[:4] else "other"


def mme_yes_no(prediction: str, answer: str) -> float:
    """1 if MME's reading of the prediction is the answer, else 0.

    Raises:
        ValueError: the answer is neither yes nor no (officially an assertion).
    """
    return float(mme_parse(prediction) == _known(answer.lower().strip().replace(".", "")))


def mme_aggregate(rows: Iterable[Mapping[str, Any]]) -> float:
    """Sum over categories of the mean over pictures of accuracy and accuracy+, 200 a category.

    Args:
        rows: ``question_id`` (one of a picture, not of a question), ``category``, and ``score`` or
            ``prediction`` with ``answer``.

    Raises:
        ValueError: a picture has not exactly two questions (officially an assertion).
    """
    held: dict[str, dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        score = row["score"] if "score" in row else mme_yes_no(row["prediction"], row["answer"])
        held[row["category"]][row["question_id"]].append(score)
    return sum((_mme_category(list(pictures.values())) for pictures in held.values()), 0.0)


def _mme_category(pairs: Sequence[Sequence[float]]) -> float:
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("MME takes two questions about a picture")
    return sum(sum(pair) * 50.0 + (sum(pair) == 2) * 100.0 for pair in pairs) / len(pairs)


def pope_lmms_eval(prediction: str, answer: str) -> float:
    """1 if the prediction is the answer but for case and white space, else 0: "Yes." is wrong.

    Raises:
        ValueError: the answer is neither yes nor no (officially an assertion).
    """
    return float(prediction.lower().strip() == _known(answer.lower().strip()))


def pope_lmms_eval_aggregate(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy, precision, recall, F1 and, as officially, the ratio of yes among the *answers*.

    Args:
        rows: ``prediction`` and ``answer``; a prediction that is neither counts as wrong, but
            neither as a false positive nor as a false negative.

    Raises:
        ValueError: an answer is neither yes nor no. ZeroDivisionError: there are no rows.
    """
    marks = [pope_lmms_eval(row["prediction"], row["answer"]) for row in rows]
    told = [
        (row["prediction"].lower().strip(), row["answer"].lower().strip() == "yes") for row in rows
    ]
    hits = told.count(("yes", True))
    precision = _share(hits, hits + told.count(("yes", False)))
    recall = _share(hits, hits + told.count(("no", True)))
    return {
        "accuracy": sum(marks) / len(marks),
        "precision": precision,
        "recall": recall,
        "f1": 2 * (precision * recall) / (precision + recall) if precision + recall else 0.0,
        "yes_ratio": sum(yes for _, yes in told) / len(told),
    }


def pope_llava_parse(text: str) -> Literal["yes", "no"]:
    """What LLaVA's ``eval_pope.py`` takes an answer for.

    No, if the words of the first sentence (split at single spaces, commas gone) hold "No", "not"
    or "no"; else yes. So "NO", "nope", "None", "Cannot tell" and "" are yes.
    """
    words = text.split(".", maxsplit=1)[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def pope_llava(prediction: str, answer: str) -> float:
    """1 if LLaVA's reading of the prediction is the answer, else 0; any answer but "no" is yes."""
    return float((pope_llava_parse(prediction) == "no") == (answer == "no"))


def pope_llava_aggregate(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy, precision, recall, F1 and the ratio of yes among the predictions.

    Args:
        rows: ``prediction`` and ``answer``.

    Raises:
        ZeroDivisionError: one of them is not defined, as officially.
    """
    told = [(pope_llava_parse(row["prediction"]) == "yes", row["answer"] != "no") for row in rows]
    hits, yes = told.count((True, True)), sum(said for said, _ in told)
    ratio, precision = yes / len(told), hits / yes
    recall = hits / sum(true for _, true in told)
    return {
        "accuracy": sum(said == true for said, true in told) / len(told),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall),
        "yes_ratio": ratio,
    }


def _known(answer: str) -> str:
    if answer not in {"yes", "no"}:
        raise ValueError(f"the answer must be yes or no, not {answer!r}")
    return answer


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
