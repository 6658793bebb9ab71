"""Similarity of two strings in whole percent, as ``fuzzywuzzy`` gives it over Levenshtein."""

from __future__ import annotations


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
    distance = total - 2 * common(first, second)
    return round(100 * (1.0 - distance / total))


def common(first: str, second: str) -> int:
    """Length of the longest common subsequence, one machine-word row at a time (Hyyro 2004)."""
    places: dict[str, int] = {}
    for at, character in enumerate(first):
        places[character] = places.get(character, 0) | (1 << at)
    every = (1 << len(first)) - 1
    row = every  # a zero bit: the subsequence grows at this character of ``first``
    for character in second:
        shared = row & places.get(character, 0)
        row = ((row + shared) | (row - shared)) & every
    return len(first) - row.bit_count()
