"""Strings the slow way."""

from __future__ import annotations


def occurrences(text: list[int], part: list[int]) -> list[int]:
    """Where ``part`` ends in ``text``."""
    size = len(part)
    return [i for i in range(size, len(text) + 1) if text[i - size : i] == part]


def longest_earlier_suffix(text: list[int], barrier: int) -> list[int]:
    """The longest suffix without ``barrier`` that also ended earlier."""
    for start in range(len(text)):
        part = text[start:]
        if barrier not in part and len(occurrences(text, part)) > 1:
            return part
    return []
