"""Accepted and rejected tokens of a prediction, against the textbook's table."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmspec.core.predicted import Predicted

TEXTS = st.lists(st.integers(0, 3), max_size=90)


def common(one: list, other: list) -> int:
    """Length of the longest common subsequence."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, x in enumerate(one):
        for j, y in enumerate(other):
            best = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else best
    return table[-1][-1]


def pairs(text: list[int]) -> list[tuple[int, int]]:
    return list(zip([-1, *text], text, strict=False))


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 7))
def test_it_is_the_longest_common_subsequence_of_pairs(prediction, text, stride):
    followed = Predicted(np.array(prediction, np.int64))
    for first in range(0, len(text), stride):
        followed.push(tuple(text[first : first + stride]))
    assert followed.accepted == common(pairs(prediction), pairs(text))
    assert followed.accepted + followed.rejected == len(prediction)


def test_across_words_of_bits():
    text = np.random.default_rng(0).integers(0, 1000, 300)
    followed = Predicted(text)
    assert (followed.accepted, followed.rejected) == (0, 300)
    followed.push(tuple(text[:130].tolist()))
    assert (followed.accepted, followed.rejected) == (130, 170)
    followed.push((2000, *text[130:].tolist()))
    # The first token after the change came after another one than predicted.
    assert (followed.accepted, followed.rejected) == (299, 1)
