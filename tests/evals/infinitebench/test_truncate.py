"""Both truncations against slices of a real list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmspec_evals.metrics.truncate import kept


@pytest.mark.parametrize(
    ("length", "limit", "local", "gpt4"),
    [
        (4, 4, [0, 1, 2, 3], [0, 1, 2, 3]),
        (10, 4, [0, 1, 8, 9], [0, 1, 8, 9]),
        (10, 5, [0, 1, 8, 9], [0, 1, 7, 8, 9]),
        (3, 2, [0, 2], [0, 2]),
        (3, 1, [0, 1, 2], [2]),
        (3, 0, [0, 1, 2], [0, 1, 2]),
        (0, 5, [], []),
    ],
)
def test_by_hand(length, limit, local, gpt4):
    assert kept(length, limit) == kept(length, limit, "local") == local
    assert kept(length, limit, "gpt4") == gpt4


@given(st.integers(0, 300), st.integers(2, 300))
def test_both_ends_stay_in_order(length, limit):
    for mode, size in (("local", limit // 2 * 2), ("gpt4", limit)):
        places = kept(length, limit, mode)
        assert places == sorted(set(places))
        if length > limit:
            assert len(places) == size
            assert places[: limit // 2] == [*range(limit // 2)]
            assert places[-1] == length - 1
        else:
            assert places == [*range(length)]
