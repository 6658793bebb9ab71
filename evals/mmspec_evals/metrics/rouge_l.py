"""ROUGE-L of summaries as the package ``rouge`` 1.0.1 computes it, which is no textbook's.

Sentences end at full stops; words stand between single spaces. Every sentence of one side is
aligned with every sentence of the other, and what counts is how many *different* words the
alignments hold, against how many different words each side has. Whitespace between two full stops
is a sentence of one empty word, which counts and matches like any other.
"""

from __future__ import annotations

from typing import Any

DEEPEST = 990
"""Steps back through an alignment at which the original's recursion meets Python's limit.

It then gives up and the mark is 0. Where exactly depends on how deep its caller stands; this is
the official script's own depth, to one step.
"""


def rouge_l(prediction: Any, reference: Any, deepest: int | None = DEEPEST) -> float:
    """F of the summary-level ROUGE-L, 0 to 1; 0 as well where the original would fail.

    Args:
        deepest: see ``DEEPEST``; None aligns sentences of any length.
    """
    if not isinstance(prediction, str) or not isinstance(reference, str):
        return 0.0
    said, known = _sentences(prediction), _sentences(reference)
    if not said or not known:
        return 0.0
    shared: set[str] = set()
    for truth in known:
        for words in said:
            aligned = _aligned(truth, words, deepest)
            if aligned is None:
                return 0.0
            shared |= aligned
    precision = len(shared) / len({word for words in said for word in words})
    recall = len(shared) / len({word for words in known for word in words})
    return 2.0 * (precision * recall / (precision + recall + 1e-8))


def _sentences(text: str) -> list[list[str]]:
    return [" ".join(part.split()).split(" ") for part in text.split(".") if part]


def _aligned(first: list[str], second: list[str], deepest: int | None) -> set[str] | None:
    """Words of a longest common subsequence, None when the way back has too many steps.

    Of several it is the one found from the end, shortening ``second`` on ties.
    """
    table = _lengths(first, second)
    i, j, steps = len(first), len(second), 1
    words: set[str] = set()
    while i and j:
        steps += 1
        if first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
            words.add(first[i])
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return None if deepest is not None and steps > deepest else words


def _lengths(first: list[str], second: list[str]) -> list[list[int]]:
    """Length of the longest common subsequence of the first i and j words, [len + 1][len + 1]."""
    table = [[0] * (len(second) + 1)]
    for word in first:
        above, row = table[-1], [0]
        for j, other in enumerate(second):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
        table.append(row)
    return table
