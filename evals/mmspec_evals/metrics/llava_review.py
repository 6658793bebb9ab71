"""LLaVA-Bench: the scores in a judge's review, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILED = (-1.0, -1.0)


def llava_bench_parse_score(review: str) -> tuple[float, float]:
    """Scores of the reference and the candidate from a review's first line, as officially.

    Commas become spaces; between single spaces there must be exactly two numbers. "8 7 " (a space
    at the end) and "8, 7" (two spaces) fail, "8,7" does not. What fails is ``FAILED``.
    """
    parts = review.split("\n", maxsplit=1)[0].replace(",", " ").split(" ")
    if len(parts) != 2:
        return FAILED
    try:
        return float(parts[0]), float(parts[1])
    except ValueError:
        return FAILED


def llava_bench_summary(pairs: Sequence[tuple[float, float]]) -> float:
    """The headline: 100 x mean of the candidate's scores / mean of the reference's.

    The official script averages failed reviews in as -1; leave them out before calling this.

    Raises:
        ZeroDivisionError: there are no pairs, or the reference got nothing.
    """
    return 100.0 * sum(second for _, second in pairs) / sum(first for first, _ in pairs)
