"""Free-standing rows of LongBench, marked as its scripts mark them: 0 to 1 a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec_evals.errors import DataError
from mmspec_evals.metrics import longbench, longbench_v2
from mmspec_evals.metrics.cases import CaseScore

if TYPE_CHECKING:
    from collections.abc import Mapping

_V2 = frozenset({"longbench_v2", "longbench-v2", "longbenchv2"})


def score_case(row: Mapping[str, Any]) -> CaseScore:
    """The official mark of one row, before it is multiplied by 100 and rounded.

    Args:
        row: ``dataset`` (or ``task``; LongBench-E's ``_e`` names and ``longbench_v2`` too),
            ``prediction``, ``answers`` (a list, as in the data) or ``ground_truth`` (one answer or
            a list), ``all_classes`` for trec and lsht. A metric of LongBench by its own name, such
            as ``qa_f1_score``, in ``metric`` marks without the rule of the first line.

    Raises:
        DataError: no such data set or metric, or nothing to mark.
    """
    if "prediction" not in row:
        raise DataError("a row needs a prediction")
    dataset = _dataset(row)
    prediction, answers = row["prediction"], _answers(row)
    try:
        if dataset in _V2:
            return CaseScore(score=float(longbench_v2.letter(prediction) in answers))
        if dataset in longbench.METRICS:
            found = longbench.score(dataset, prediction, answers, row.get("all_classes"))
        else:
            metric = _named(dataset)
            classes = row.get("all_classes")
            found = max((metric(prediction, answer, classes) for answer in answers), default=0.0)
    except (TypeError, AttributeError, IndexError) as error:
        return CaseScore(score=0.0, error=f"{type(error).__name__}: {error}")
    return CaseScore(score=float(found))


def _dataset(row: Mapping[str, Any]) -> str:
    """The data set of a row, or the metric it names instead."""
    name = next((row[key] for key in ("dataset", "task", "metric") if row.get(key)), None)
    if not isinstance(name, str):
        raise DataError("a row needs a dataset")
    last = name.rpartition("/")[2]
    if last.endswith("_e") and last[:-2] in longbench.METRICS:
        return last[:-2]
    if last not in longbench.METRICS and last not in _V2 and _named(last) is None:
        raise DataError(f"LongBench has no data set {name!r}")
    return last


def _named(metric: str) -> Any:
    """A metric by LongBench's name of it or ours; None when there is none."""
    ours = {function.__name__: function for function in longbench.METRICS.values()}
    stem = metric.removesuffix("_score")
    return ours.get("code_similarity" if stem == "code_sim" else stem)


def _answers(row: Mapping[str, Any]) -> Any:
    if row.get("answers") is not None:
        return row["answers"]
    if row.get("ground_truth") is not None:
        truth = row["ground_truth"]
        return truth if isinstance(truth, list) else [truth]
    if row.get("answer") is not None:
        return [row["answer"]]
    raise DataError("a row needs answers or a ground_truth")
