"""F1 of words or characters that two answers share, as SQuAD marks answers, and in Chinese."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
# Chinese and full-width marks that InfiniteBench drops: first and last of each run of Unicode.
# The closing double angle bracket (300b) is among them, the opening one and the full stop ff0e not.
_MARKS = (
    (0x2013, 0x2014), (0x2018, 0x2019), (0x201B, 0x201F), (0x2026, 0x2027), (0x3001, 0x3003),
    (0x300B, 0x3011), (0x3014, 0x301F), (0x3030, 0x3030), (0x303E, 0x303F), (0xFE4F, 0xFE4F),
    (0xFF01, 0xFF0D), (0xFF0F, 0xFF0F), (0xFF1A, 0xFF20), (0xFF3B, 0xFF40), (0xFF5B, 0xFF64),
)  # fmt: skip
_ASCII = str.maketrans("", "", string.punctuation)
_CHINESE = _ASCII | {code: None for first, last in _MARKS for code in range(first, last + 1)}


def overlap_f1(prediction: Sequence[str], reference: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of shared tokens, repeats counted; 0 without any."""
    shared = (Counter(prediction) & Counter(reference)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(prediction), shared / len(reference)
    return 2 * precision * recall / (precision + recall)


def words(text: str) -> list[str]:
    """Lower-case words without ASCII punctuation and English articles, in that order."""
    return _ARTICLE.sub(" ", text.lower().translate(_ASCII)).split()


def characters(text: str) -> list[str]:
    """Lower-case characters without ASCII and Chinese punctuation and white space."""
    return list("".join(text.lower().translate(_CHINESE).split()))
