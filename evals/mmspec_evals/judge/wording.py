"""What a judge is asked, and how its reply is read.

The shape is LLaVA-Bench's (the picture in words, the question, the reference, the candidate, the
rule; grades on the first line) and MM-Vet's (a share of the reference that the answer holds). The
words are our own, so grades compare between methods of a run, not with published tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmspec_evals.metrics.llava_review import FAILED, llava_bench_parse_score

if TYPE_CHECKING:
    from mmspec_evals.doc import Doc

VERSION = 1  # raised whenever what is asked changes: older reviews then do not count
SYSTEM = "You grade answers to questions about pictures, strictly and without taking sides."
_PAIR = """\
What the picture shows, in words:
{context}

Question:
{question}

=== First answer ===
{reference}
=== Second answer ===
{candidate}
===

Grade each answer from 1 (useless) to 10 (perfect) for being right, to the point, complete and \
detailed. You cannot see the picture: go by the words above. Which answer comes first must not \
matter. Begin with a line that holds nothing but the two numbers, the first answer's before the \
second's, with one space between them. Give your reasons from the second line on."""
_SHARE = """\
Question about a picture:
{question}

=== Correct answer ===
{reference}
=== Given answer ===
{candidate}
===

How much of the correct answer does the given answer hold? "<AND>" joins parts that are all \
needed, "<OR>" joins parts of which one is enough. Reply with one number from 0.0 (nothing, or \
wrong) to 1.0 (all of it) and no other word."""


def paired(task: str) -> bool:
    """Whether the task's answers are graded beside the reference, as LLaVA-Bench's are."""
    return task.startswith("llava_bench/")


def request(task: str, doc: Doc, candidate: str) -> str:
    """The one message the judge answers."""
    form = _PAIR if paired(task) else _SHARE
    target = doc.target if isinstance(doc.target, str) else "\n".join(map(str, doc.target))
    return form.format(
        context=doc.fields.get("context") or "(nothing is known)",
        question=doc.fields["question"],
        reference=target,
        candidate=candidate,
    )


def grades(task: str, reply: str) -> tuple[float, float] | None:
    """Grades of the reference and the candidate, or None if the reply cannot be read.

    A share stands beside a reference of 1.
    """
    if paired(task):
        pair = llava_bench_parse_score(reply)
        return None if pair == FAILED or not all(0 <= grade <= 10 for grade in pair) else pair
    try:
        share = float(reply.strip())
    except ValueError:
        return None
    return (1.0, share) if 0 <= share <= 1 else None
