"""Free-standing rows of the ``vqa`` suite, scored by the name of their metric.

A row holds ``metric`` and, in the first spelling that is there,

- the prediction: ``prediction``, ``pred``, ``text`` or ``review``;
- the reference: ``ground_truth``, ``answers`` (looked for first by the metrics of many answers),
  ``answer``, ``label``, ``target`` or ``references``: a text, a list of texts, a list of
  ``{"answer", "answer_id", ...}``, or for ScienceQA the place or the letter of the right choice,
  with ``choices`` or ``options`` beside it.

Metrics of many predictions (``mme_aggregate``, ``hallusionbench``, and ``pope_lmms_eval`` and
``pope_llava`` where the prediction is a list) find them in ``rows``, ``predictions``,
``results`` or ``prediction``: objects with what the metric asks for, or texts, each then with the
entry at its place in the reference and in any other list of the row as long (``category``,
``question_id``, also in the plural).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec_evals.errors import DataError
from mmspec_evals.metrics import anls as _anls
from mmspec_evals.metrics import choice, exact, hallusion, relaxed, vqa_accuracy, yes_no
from mmspec_evals.metrics.cases import CaseScore
from mmspec_evals.metrics.llava_review import FAILED, llava_bench_parse_score

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Row = Mapping[str, Any]

_PREDICTION = ("prediction", "pred", "text", "review")
_REFERENCE = ("ground_truth", "answers", "answer", "label", "target", "references")
_ROWS = ("rows", "predictions", "results", "prediction")
_ALL = {  # metrics of a list of answers
    "vqa_accuracy_official": vqa_accuracy.vqa_accuracy_official,
    "vqav2_lmms_eval": vqa_accuracy.vqav2_lmms_eval,
    "textvqa_m4c": vqa_accuracy.textvqa_m4c,
    "textvqa_lmms_eval": vqa_accuracy.textvqa_lmms_eval,
    "anls": _anls.anls,
}
_ONE: dict[str, Callable[[str, str], float]] = {  # metrics of one answer
    "chartqa_relaxed": relaxed.chartqa_relaxed,
    "exact_match_ignore_case_punct": exact.exact_match_ignore_case_punct,
    "gqa_llava": exact.gqa_llava,
    "mme_yes_no": yes_no.mme_yes_no,
    "pope_lmms_eval": yes_no.pope_lmms_eval,
    "pope_llava": yes_no.pope_llava,
    "seedbench_lmms_eval": choice.seedbench_lmms_eval,
    "seedbench_llava": choice.seedbench_llava,
    "hallusionbench_yes": hallusion.hallusionbench_yes,
}
_CHOICE = {
    "scienceqa_llava": choice.scienceqa_llava,
    "scienceqa_lmms_eval": choice.scienceqa_lmms_eval,
}
_MANY: dict[str, Callable[[list[Row]], float | dict[str, float]]] = {
    "mme_aggregate": yes_no.mme_aggregate,
    "hallusionbench": hallusion.hallusionbench,
    "pope_lmms_eval": yes_no.pope_lmms_eval_aggregate,
    "pope_llava": yes_no.pope_llava_aggregate,
}
METRICS = (*_ALL, *_ONE, *_CHOICE, "mme_aggregate", "hallusionbench", "llava_bench_parse_score")
"""Names that ``metric`` may have."""


def score_case(row: Row) -> CaseScore:
    """The official score of one row; 0 with the reason where the official scorer raises.

    Raises:
        DataError: the row names no metric of this suite.
    """
    metric = row.get("metric") or row.get("task")
    if metric not in METRICS:
        raise DataError(f"{metric!r} is no VQA metric; there are {', '.join(METRICS)}")
    try:
        return CaseScore(score=_score(metric, row))
    # What a scorer raises on a malformed row, such as a number where a text should be.
    except (AttributeError, TypeError, ValueError, LookupError, ZeroDivisionError) as error:
        return CaseScore(score=0.0, error=f"{type(error).__name__}: {error}")


def _score(metric: str, row: Row) -> float | dict[str, float] | list[float]:
    if metric == "llava_bench_parse_score":
        review = _first(row, _PREDICTION)
        return list(llava_bench_parse_score(review) if isinstance(review, str) else FAILED)
    if metric in _MANY and (metric not in _ONE or _is_list(row)):
        return _MANY[metric](_rows(row))
    prediction = _first(row, _PREDICTION)
    if metric in _ALL:
        return _ALL[metric](prediction, _people(_first(row, ("answers", *_REFERENCE)), metric))
    reference = _first(row, _REFERENCE)
    if isinstance(reference, list) and len(reference) == 1:
        reference = reference[0]
    if metric in _CHOICE:
        return _CHOICE[metric](prediction, reference, row.get("choices") or row.get("options"))
    return _ONE[metric](prediction, reference)


def _people(answers: Any, metric: str) -> Any:
    """Several answers; as texts where a metric takes only texts."""
    if isinstance(answers, str):
        return [answers]
    if metric in {"vqa_accuracy_official", "vqav2_lmms_eval"} or answers is None:
        return answers
    return [answer["answer"] if isinstance(answer, dict) else answer for answer in answers]


def _is_list(row: Row) -> bool:
    return any(isinstance(row.get(name), list) for name in _ROWS)


def _rows(row: Row) -> list[Row]:
    """What the metrics of many predictions take, from either form."""
    entries = next(row[name] for name in _ROWS if isinstance(row.get(name), list))
    beside: dict[str, list[Any]] = {}
    for name, values in row.items():
        if isinstance(values, list) and values is not entries and len(values) == len(entries):
            single = {"categories": "category"}.get(name, name.removesuffix("s"))
            beside["answer" if name in _REFERENCE else single] = values
    made: list[Row] = []
    for place, entry in enumerate(entries):
        own = dict(entry) if isinstance(entry, dict) else {"prediction": entry}
        whole = {name: values[place] for name, values in beside.items()} | own
        whole.setdefault("prediction", whole.get("pred", whole.get("text")))
        for name in _REFERENCE:
            if name in whole:
                whole.setdefault("answer", whole[name])
        made.append(whole)
    return made


def _first(row: Row, names: tuple[str, ...]) -> Any:
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(f"the row has none of {', '.join(names)}")
