"""Where answers end, and what their last round still counts for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mmspec_evals.methods.ending import trim_ids, trim_rounds
from mmspec_evals.trace import Rounds


def test_by_hand():
    assert trim_ids([5, 2, 9, 2], {2}, 8) == ([5, 2], "stop")
    assert trim_ids([5, 9, 2], {2}, 2) == ([5, 9], "length")
    assert trim_ids([5, 2], {2}, 2) == ([5, 2], "stop")  # the end token was the last allowed
    assert trim_ids([], {2}, 4) == ([], "length")
    rounds = Rounds(proposed=[4, 5, 6], depth=[4, 3, 2], accepted=[1, 3, 2])  # said 2, 4 and 3
    cut = trim_rounds(rounds, 4)
    assert (cut.proposed, cut.depth, cut.accepted) == ([4, 5], [4, 3], [1, 1])
    assert trim_rounds(rounds, 2).accepted == [1]
    assert trim_rounds(rounds, 9) == rounds
    assert trim_rounds(rounds, 0) == Rounds()


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(0, 80))
def test_trimmed_rounds_say_exactly_the_tokens(accepted, wanted):
    said = sum(accepted) + len(accepted)
    tokens = min(wanted, said)
    rounds = Rounds(proposed=[9] * len(accepted), depth=[9] * len(accepted), accepted=accepted)
    cut = trim_rounds(rounds, tokens)
    assert sum(cut.accepted) + len(cut.accepted) == tokens
    assert len(cut.proposed) == len(cut.depth) == len(cut.accepted)
    assert cut.accepted[:-1] == accepted[: len(cut.accepted)][:-1]
    assert all(kept >= 0 for kept in cut.accepted)


@given(st.lists(st.integers(0, 9), max_size=20), st.sets(st.integers(0, 9), max_size=3),
       st.integers(0, 25))  # fmt: skip
def test_trimmed_ids_end_once(ids, stops, cap):
    kept, reason = trim_ids(ids, stops, cap)
    assert kept == ids[: len(kept)]
    assert len(kept) <= cap
    assert not stops.intersection(kept[:-1])
    assert (reason == "stop") == bool(kept and kept[-1] in stops)
