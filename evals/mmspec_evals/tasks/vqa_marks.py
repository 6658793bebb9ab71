"""How answers to each VQA benchmark are marked: a document's scores, and what they add up to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mmspec_evals.metrics.anls import anls
from mmspec_evals.metrics.choice import (
    scienceqa_llava,
    scienceqa_lmms_eval,
    seedbench_llava,
    seedbench_lmms_eval,
)
from mmspec_evals.metrics.exact import exact_match_ignore_case_punct, gqa_llava
from mmspec_evals.metrics.hallusion import hallusionbench_yes
from mmspec_evals.metrics.relaxed import chartqa_relaxed
from mmspec_evals.metrics.rouge_lsum import best_rouge_lsum
from mmspec_evals.metrics.vqa_accuracy import (
    PEOPLE,
    textvqa_lmms_eval,
    textvqa_m4c,
    vqa_accuracy_official,
    vqav2_lmms_eval,
)
from mmspec_evals.metrics.yes_no import (
    MME_COGNITION,
    mme_yes_no,
    pope_llava,
    pope_llava_parse,
    pope_lmms_eval,
)

if TYPE_CHECKING:
    from mmspec_evals.doc import Doc
    from mmspec_evals.task import Scored

Marks = Mapping[str, float]
Mark = Callable[[str, "Doc"], Marks]


def vqav2(said: str, doc: Doc) -> Marks:
    """Ten people's answers, by both rules."""
    return {
        "vqa_accuracy_official": vqa_accuracy_official(said, doc.target),
        "vqav2_lmms_eval": vqav2_lmms_eval(said, doc.target),
    }


def okvqa(said: str, doc: Doc) -> Marks:
    """Ten people's answers, by the official rule and by lmms-eval's for OK-VQA."""
    return {
        "vqa_accuracy_official": vqa_accuracy_official(said, doc.target),
        "okvqa_lmms_eval": textvqa_lmms_eval(said, _texts(doc.target)),
    }


def textvqa(said: str, doc: Doc) -> Marks:
    """Ten people's answers; the two rules differ only where there are not ten."""
    people = _texts(doc.target)
    scores = {"textvqa_lmms_eval": textvqa_lmms_eval(said, people)}
    return scores | ({"textvqa_m4c": textvqa_m4c(said, people)} if len(people) == PEOPLE else {})


def vizwiz(said: str, doc: Doc) -> Marks:
    """Ten people's answers, "unanswerable" among them."""
    return {"vizwiz_lmms_eval": textvqa_lmms_eval(said, _texts(doc.target))}


def gqa(said: str, doc: Doc) -> Marks:
    """One answer."""
    return {
        "exact_match_ignore_case_punct": exact_match_ignore_case_punct(said, doc.target),
        "gqa_llava": gqa_llava(said, doc.target),
    }


def scienceqa(said: str, doc: Doc) -> Marks:
    """The place of the right choice."""
    choices = doc.fields["choices"]
    return {
        "scienceqa_lmms_eval": scienceqa_lmms_eval(said, doc.target, choices),
        "scienceqa_llava": scienceqa_llava(said, doc.target, choices),
    }


def seedbench(said: str, doc: Doc) -> Marks:
    """The letter of the right choice."""
    return {
        "seedbench_lmms_eval": seedbench_lmms_eval(said, doc.target),
        "seedbench_llava": seedbench_llava(said, doc.target),
    }


def chartqa(said: str, doc: Doc) -> Marks:
    """One answer; the two halves of the benchmark, people's questions and made ones, apart too."""
    score = chartqa_relaxed(said, doc.target)
    half = doc.fields.get("category")
    return {"chartqa_relaxed": score} | ({f"chartqa_{half}": score} if half else {})


def docvqa(said: str, doc: Doc) -> Marks:
    """Any of several answers."""
    return {"anls": anls(said, _texts(doc.target))}


def mme(said: str, doc: Doc) -> Marks:
    """Yes or no."""
    return {"mme_yes_no": mme_yes_no(said, doc.target)}


def pope(said: str, doc: Doc) -> Marks:
    """Yes or no, by both rules."""
    return {
        "pope_lmms_eval": pope_lmms_eval(said, doc.target),
        "pope_llava": pope_llava(said, doc.target),
    }


def hallusionbench(said: str, doc: Doc) -> Marks:
    """1 for yes, 0 for no."""
    return {"aAcc": hallusionbench_yes(said, doc.target)}


def overlap(said: str, doc: Doc) -> Marks:
    """Words in common with a reference: no benchmark's score, but something without a judge."""
    return {"reference_overlap": best_rouge_lsum(said, _texts(doc.target))}


def mme_sums(scored: list[Scored]) -> Marks:
    """Perception and cognition, 200 a category; of a picture with one question asked, nothing."""
    held: dict[str, list[float]] = defaultdict(list)
    for category, pairs in _pairs(scored).items():
        marks = [sum(pair) * 50.0 + (sum(pair) == 2) * 100.0 for pair in pairs]
        held[category] += marks
    sums = {"mme_yes_no": _mean([row.scores["mme_yes_no"] for row in scored])} if scored else {}
    for name, cognitive in (("mme_perception", False), ("mme_cognition", True)):
        means = [_mean(m) for kind, m in held.items() if (kind in MME_COGNITION) == cognitive]
        if means:
            sums[name] = sum(means)
    return sums


def pope_sums(scored: list[Scored]) -> Marks:
    """Accuracy by both rules; precision, recall, F1 and ratio of yes by LLaVA's reading."""
    told = [(_says_yes(row), row.doc.target != "no") for row in scored]
    if not told:
        return {}
    hits, yes = told.count((True, True)), sum(said for said, _ in told)
    sums = {
        name: _mean([row.scores.get(name, 0.0) for row in scored])
        for name in ("pope_lmms_eval", "pope_llava")
    }
    there = sum(true for _, true in told)
    if yes:
        sums["pope_precision"] = hits / yes
    if there:
        sums["pope_recall"] = hits / there
    if yes and there:
        sums["pope_f1"] = 2 * hits / (yes + there)
    return sums | {"pope_yes_ratio": yes / len(told)}


def hallusion_sums(scored: list[Scored]) -> Marks:
    """Answers, whole questions and whole figures.

    Rows drawn several times, as a bootstrap draws them, weigh so many times.
    """
    if not scored:
        return {}
    sums = {"aAcc": _mean([row.scores["aAcc"] for row in scored])}
    for name, key in (("qAcc", "question_id"), ("fAcc", "figure_id")):
        groups: dict[tuple[Any, ...], list[Scored]] = defaultdict(list)
        for row in scored:
            groups[(*row.doc.fields["set"], row.doc.fields[key])].append(row)
        weights = [len(rows) / len({row.doc.id for row in rows}) for rows in groups.values()]
        right = [min(row.scores["aAcc"] for row in rows) for rows in groups.values()]
        sums[name] = sum(w * r for w, r in zip(weights, right, strict=True)) / sum(weights)
    return sums


def _says_yes(row: Scored) -> bool:
    """What the answer says; a document that failed says the wrong thing."""
    if not row.answers:
        return bool(row.doc.target == "no")
    return pope_llava_parse(row.answers[0].strip()) == "yes"


def _pairs(scored: list[Scored]) -> dict[str, list[list[float]]]:
    """Marks of the two questions about each picture, by category."""
    held: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in scored:
        held[row.doc.fields["category"], row.doc.cluster].append(row.scores["mme_yes_no"])
    pairs: dict[str, list[list[float]]] = defaultdict(list)
    for (category, _), marks in held.items():
        # A picture drawn several times by a bootstrap comes with both questions each time.
        pairs[category] += [marks[at : at + 2] for at in range(0, len(marks) - 1, 2)]
    return pairs


def _texts(answers: list[Any]) -> list[str]:
    return [one["answer"] if isinstance(one, dict) else one for one in answers]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
