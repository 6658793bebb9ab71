"""Similarity of two strings in whole percent, as ``fuzzywuzzy`` gives it over Levenshtein."""

from __future__ import annotations

from rapidfuzz.distance import Indel


def ratio(first: str, second: str) -> int:
    """100 for equal strings (two empty ones too), else 0 if either is empty, else the share kept.

    The share is 1 - d / n: d insertions and deletions turn one into the other, n characters are in
    both together. Written as that difference and not as (n - d) / n, which rounds differently;
    halves go to the even number, as Python rounds.

    >>> ratio("return x", "return y")
    88
    """
    if first == second:
        return 100
    if not len(first) or not len(second):
        return 0
    total = len(first) + len(second)
    return round(100 * (1.0 - Indel.distance(first, second) / total))
