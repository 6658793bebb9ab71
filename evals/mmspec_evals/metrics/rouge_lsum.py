"""ROUGE-Lsum as the package ``rouge_score`` computes it: words in common order, line by line.

A line is what stands between line feeds; words are runs of a-z and 0-9 of the lower-cased text.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

_WORD = re.compile(r"[a-z0-9]+")


def rouge_lsum(prediction: str, reference: str) -> float:
    """F measure, 0 to 1; 0 when either text has no word.

    For every line of the reference, the words that are part of a longest common subsequence with
    any line of the prediction are found; each counts at most as often as both texts hold it.
    """
    told, asked = _lines(prediction), _lines(reference)
    left = Counter(word for line in told for word in line)
    owed = Counter(word for line in asked for word in line)
    if not left or not owed:
        return 0.0
    precision_of, recall_of = left.total(), owed.total()
    hits = 0
    for line in asked:
        places = sorted({place for other in told for place in common(line, other)})
        for word in (line[place] for place in places):
            if left[word] > 0 and owed[word] > 0:
                hits += 1
                left[word] -= 1
                owed[word] -= 1
    precision, recall = hits / precision_of, hits / recall_of
    return 2 * precision * recall / (precision + recall) if hits else 0.0


def best_rouge_lsum(prediction: str, references: list[str]) -> float:
    """The best over several references.

    Raises:
        ValueError: there are none.
    """
    return max(rouge_lsum(prediction, reference) for reference in references)


def common(line: list[str], other: list[str]) -> list[int]:
    """Places in ``line`` of one longest common subsequence; of several, the reference's choice.

    Read from the ends, a step back in ``line`` goes before a step back in ``other`` when both are
    as good; which words count depends on it.
    """
    table = [[0] * (len(other) + 1)]
    for word in line:
        above, row, best = table[-1], [0], 0
        for (corner, up), match in zip(pairwise(above), other, strict=True):
            best = corner + 1 if word == match else max(up, best)
            row.append(best)
        table.append(row)
    i, j, places = len(line), len(other), []
    while i and j:
        if line[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            places.append(i)
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places[::-1]


def _lines(text: str) -> list[list[str]]:
    return [_WORD.findall(line) for line in text.lower().split("\n")]
