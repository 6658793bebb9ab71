"""How much of an answer only says again what it said: loops, which flatter any drafter.

A looping answer is nearly free to draft from its own text, so its speedup says little about others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mmspec_evals.trace import Sample

GRAM = 6  # ids that must come again in a row to count as a repetition
LOOPING = 0.3  # share of repeated ids from which a report warns


def repeated(ids: Sequence[int], gram: int = GRAM) -> int:
    """Ids at the end of a run of ``gram`` that was already said in the same answer.

    >>> repeated([1, 2, 3, 1, 2, 3, 1, 2, 3], gram=3)
    4
    """
    seen: set[tuple[int, ...]] = set()
    again = 0
    for end in range(gram, len(ids) + 1):
        said = tuple(ids[end - gram : end])
        again += said in seen
        seen.add(said)
    return again


def share(samples: Iterable[Sample]) -> float | None:
    """Repeated ids over all ids, answer by answer; None where no ids are known."""
    answers = [trace.ids for sample in samples for trace in sample.traces if trace.ids]
    total = sum(len(ids) for ids in answers)
    return sum(repeated(ids) for ids in answers) / total if total else None
