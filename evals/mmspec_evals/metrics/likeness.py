"""How alike two texts are."""

from __future__ import annotations

from rapidfuzz.distance import Indel


def edit_similarity(one: str, other: str) -> float:
    """1 less insertions and deletions over both lengths, 0 to 1; two empty texts are alike.

    >>> edit_similarity("abcd", "abxd")
    0.75
    """
    return Indel.normalized_similarity(one, other)
