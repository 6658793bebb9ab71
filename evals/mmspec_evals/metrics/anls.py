"""ANLS: how near an answer's letters come to a reference (DocVQA, InfographicVQA)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rapidfuzz.distance import Levenshtein

if TYPE_CHECKING:
    from collections.abc import Sequence

THRESHOLD = 0.5


def anls(prediction: str, references: Sequence[str]) -> float:
    """Best similarity over the references as lmms-eval computes it, 0 below a half.

    Edits are counted between texts in lower case with single spaces, but divided by the length of
    the longer *raw* text in upper case. Two empty texts are alike.

    Raises:
        ValueError: there are no references.
    """
    told = _squeezed(prediction)
    far = []
    for reference in references:
        longest = max(len(reference.upper()), len(prediction.upper()))
        edits = Levenshtein.distance(_squeezed(reference), told)
        far.append(edits / longest if longest else 0.0)
    near = 1.0 - min(far)
    return near if near >= THRESHOLD else 0.0


def _squeezed(text: str) -> str:
    return " ".join(text.strip().lower().split())
