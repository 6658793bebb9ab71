"""Judging a run: every answer that no good review is about yet, and what the reviews come to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from mmspec_evals.errors import DataError
from mmspec_evals.judge import reviews, wording
from mmspec_evals.judge.endpoint import JudgeError
from mmspec_evals.judge.reviews import Review
from mmspec_evals.metrics.llava_review import llava_bench_summary
from mmspec_evals.running.documents import read_docs
from mmspec_evals.running.layout import Layout, read_samples
from mmspec_evals.running.plan import LAST, VANILLA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mmspec_evals.doc import Doc

JUDGED = ("llava_bench/coco", "llava_bench/wild", "vqa/mmvet")


class Asker(Protocol):
    """Whoever reviews; ``endpoint.Judge`` is one."""

    @property
    def model(self) -> str:
        """What it calls itself."""
        ...

    def ask(self, system: str, text: str) -> str:
        """The reply to one message."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """What the reviews of one category come to.

    Attributes:
        reference, candidate: mean grades. headline: 100 x the second / the first; all None when no
            review succeeded. n: reviews that count. failed: answers without a usable review.
    """

    task: str
    method: str
    category: str
    n: int
    failed: int
    reference: float | None
    candidate: float | None
    headline: float | None


def judged(run: Path) -> list[tuple[str, str]]:
    """Tasks of a run that a judge can grade, with the methods that answered them.

    Raises:
        DataError: the folder holds no run with such a task.
    """
    found = []
    for task in JUDGED:
        files = Layout(run).samples(task, VANILLA, 0).parent.glob("*.r0.jsonl")
        methods = sorted(file.name.removesuffix(".r0.jsonl") for file in files)
        found += [(task, method) for method in methods if method != LAST]
    if not found:
        raise DataError(f"{run} holds no samples of {', '.join(JUDGED)}")
    return found


def review(run: Path, task: str, method: str, judge: Asker) -> Iterator[Review]:
    """Review the first repeat of a method's answers, each as it is made and kept.

    An answer that has a good review by this model, of whichever method, is not sent again.
    """
    docs = read_docs(run, task)
    good = reviews.known(run, task)
    file = reviews.path(run, task, method)
    own = {old.key for old in reviews.read(file) if not old.failed}
    for question_id, answer in _answers(run, task, method).items():
        doc = docs.get(question_id)
        if doc is None or doc.target is None:
            continue
        blank = Review(
            question_id=question_id,
            category=str(doc.fields.get("category", "all")),
            answer=reviews.sha(answer),
            model=judge.model,
        )
        if blank.key in own:
            continue
        made = good.get(blank.key) or _ask(task, doc, answer, judge, blank)
        reviews.append(file, made)
        yield made


def summary(run: Path, task: str, method: str, model: str) -> list[Line]:
    """Lines for all categories together and for each; failed reviews are left out and counted."""
    docs = read_docs(run, task)
    good = {old.key: old for old in reviews.read(reviews.path(run, task, method)) if not old.failed}
    held: Mapping[str, list[Review | None]] = defaultdict(list)
    answers = _answers(run, task, method)
    for question_id, doc in docs.items():
        if doc.target is None:
            continue
        answer = reviews.sha(answers[question_id]) if question_id in answers else ""
        found = good.get((question_id, answer, model, wording.VERSION))
        for category in dict.fromkeys(("all", str(doc.fields.get("category", "all")))):
            held[category].append(found)
    return [_line(task, method, category, found) for category, found in held.items()]


def _ask(task: str, doc: Doc, answer: str, judge: Asker, blank: Review) -> Review:
    try:
        reply = judge.ask(wording.SYSTEM, wording.request(task, doc, answer))
    except JudgeError as error:
        return msgspec.structs.replace(blank, error=str(error))
    grades = wording.grades(task, reply)
    if grades is None:
        return msgspec.structs.replace(blank, reply=reply)
    return msgspec.structs.replace(blank, reply=reply, reference=grades[0], candidate=grades[1])


def _answers(run: Path, task: str, method: str) -> dict[str, str]:
    """The last good answer to each question, first repeat."""
    samples = read_samples(Layout(run).samples(task, method, 0))
    return {s.doc_id: s.answers[0] for s in samples if s.error is None and s.answers}


def _line(task: str, method: str, category: str, found: Sequence[Review | None]) -> Line:
    pairs = [
        (one.reference, one.candidate)
        for one in found
        if one is not None and one.reference is not None and one.candidate is not None
    ]
    failed = len(found) - len(pairs)
    if not sum(first for first, _ in pairs):
        return Line(task, method, category, len(pairs), failed, None, None, None)
    first, second = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    headline = llava_bench_summary(pairs)
    return Line(task, method, category, len(pairs), failed, first, second, headline)
