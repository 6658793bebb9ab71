"""LongBench: 21 data sets, and the 13 of LongBench-E whose lengths are spread evenly."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mmspec_evals.data import official
from mmspec_evals.doc import Doc
from mmspec_evals.errors import DataError
from mmspec_evals.metrics import longbench, zh
from mmspec_evals.task import Corpus, Metric, Task
from mmspec_evals.tasks import longbench_prompts as prompts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec_evals.data.rows import Table
    from mmspec_evals.task import Want

CAPS: dict[str, int] = {
    "narrativeqa": 128,
    "qasper": 128,
    "multifieldqa_en": 64,
    "multifieldqa_zh": 64,
    "hotpotqa": 32,
    "2wikimqa": 32,
    "musique": 32,
    "dureader": 128,
    "gov_report": 512,
    "qmsum": 512,
    "multi_news": 512,
    "vcsum": 512,
    "trec": 64,
    "triviaqa": 32,
    "samsum": 128,
    "lsht": 64,
    "passage_count": 32,
    "passage_retrieval_en": 32,
    "passage_retrieval_zh": 32,
    "lcc": 64,
    "repobench-p": 64,
}
"""Most new tokens of an answer."""

EVEN = (
    *("qasper", "multifieldqa_en", "hotpotqa", "2wikimqa", "gov_report", "multi_news", "trec"),
    *("triviaqa", "samsum", "passage_count", "passage_retrieval_en", "lcc", "repobench-p"),
)
"""Data sets of LongBench-E."""

BUCKETS = ("0-4k", "4-8k", "8k+")
_BARE = frozenset({"trec", "triviaqa", "samsum", "lsht", "lcc", "repobench-p"})
_CHINESE = frozenset({longbench.qa_f1_zh, longbench.rouge_zh})


def load(want: Want, dataset: str, even: bool) -> Corpus:
    """Documents of one data set.

    Args:
        even: of LongBench-E.

    Raises:
        DataError: no file, no template for it, or no package to mark it with.
    """
    if longbench.METRICS[dataset] in _CHINESE:
        zh.words("")  # fails now rather than after hours
    names = [f"{dataset}_e"] if even else [dataset]
    table = official.wanted(want, "longbench", names)
    template, cap = prompts.OWN[dataset], CAPS[dataset]
    if want.prompts is not None:
        templates = prompts.official(want.prompts, "config/dataset2prompt.json")
        if dataset not in templates:
            raise DataError(f"the templates in {want.prompts} have none for {dataset}")
        template = templates[dataset]
        cap = prompts.official(want.prompts, "config/dataset2maxlen.json").get(dataset, cap)
    rows = official.labelled(table, ("_id", "id"), want.limit)
    own = {} if cap == CAPS[dataset] else {"max_new_tokens": cap}
    return Corpus(
        docs=tuple(_doc(name, row, template, own, table) for name, row in rows),
        kind="official",
        path=table.path,
        sha256=table.sha256,
        rows=len(table.rows),
        prompts="own" if want.prompts is None else "official",
    )


def _doc(
    name: str, row: Mapping[str, Any], template: str, own: Mapping[str, Any], table: Table
) -> Doc:
    context = official.words(row, "context", table)
    answers = official.field(row, "answers", table)
    return Doc(
        id=name,
        turns=(prompts.fill(template, row),),
        target=answers if isinstance(answers, list) else [answers],
        cluster=official.seal(context),
        fields={
            "all_classes": row.get("all_classes"),
            "length": row.get("length"),
            "language": row.get("language"),
            **own,
        },
    )


def score(answers: tuple[str, ...], doc: Doc, dataset: str, even: bool) -> dict[str, float]:
    """The best mark over the references; LongBench-E tells it by length as well."""
    classes = doc.fields.get("all_classes")
    try:
        mark = longbench.score(dataset, answers[0], doc.target, classes)
    except (TypeError, AttributeError, IndexError):  # the official scorer fails on such a row
        mark = 0.0
    metric = longbench.METRICS[dataset].__name__
    length = doc.fields.get("length")
    if not even or length is None:
        return {metric: mark}
    return {metric: mark, f"{metric}_{longbench.bucket(length)}": mark}


def _task(dataset: str, even: bool) -> Task:
    metric = longbench.METRICS[dataset].__name__
    names = [metric, *(f"{metric}_{bucket}" for bucket in BUCKETS)] if even else [metric]
    alias = f"longbench_{dataset}_e" if even else f"longbench_{dataset}"
    return Task(
        name=f"longbench_e/{dataset}" if even else f"longbench/{dataset}",
        version=1,
        profile="both" if CAPS[dataset] >= 128 else "quality",
        style="completion" if dataset in _BARE else "chat",
        max_new_tokens=CAPS[dataset],
        metrics=tuple(Metric(name) for name in names),
        load=partial(load, dataset=dataset, even=even),
        score=partial(score, dataset=dataset, even=even),
        data="longbench",
        aliases=(alias,),
    )


TASKS = (
    *(_task(dataset, even=False) for dataset in CAPS),
    *(_task(dataset, even=True) for dataset in EVEN),
)
