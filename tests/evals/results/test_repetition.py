"""Loops in answers are counted, and told where they flatter."""

from __future__ import annotations

import pytest
from evals.results.fabricate import sample, trace
from mmspec_evals.results.repetition import repeated, share


@pytest.mark.parametrize(
    ("ids", "again"),
    [
        ([], 0),
        (list(range(50)), 0),
        ([7] * 20, 14),  # the first run of six is new, each later one is not
        ([1, 2, 3, 4, 5, 6, 9, 1, 2, 3, 4, 5, 6], 1),
        ([1, 2, 3, 4, 5, 9, 1, 2, 3, 4, 5, 8], 0),
    ],
)
def test_runs_of_six_said_again(ids, again):
    assert repeated(ids) == again


def test_answers_are_read_one_by_one():
    same = trace(tokens=20, given=list(range(20)))
    assert share([sample(traces=[same]), sample(traces=[same])]) == 0.0
    loop = trace(tokens=20, given=[7] * 20)
    assert share([sample(traces=[same, loop])]) == pytest.approx(14 / 40)


def test_unknown_is_not_zero():
    assert share([sample(traces=[trace(ids=False)])]) is None
