"""Chains of one occurrence: which one speaks, and how far its match is counted."""

from __future__ import annotations

import numpy as np
import pytest
from mmspec_evals.replay.chains import Chain, Text, quoted

from mmspec.core.drafter import Budget, Facts
from mmspec.core.request import Prompt, Request
from mmspec.core.sequence import Sequence

FACTS = Facts(vocabulary=100, context=1000, media_tokens=frozenset({99}))


def sequence(tokens):
    return Sequence(Request("a", Prompt(np.array(tokens, np.int64))), 0, 0)


def text(tokens):
    told = Text(sequence(tokens))
    told.extend(np.array(tokens, np.int64), frozenset({99}))
    return told


def test_runs_are_counted_as_by_hand():
    rng = np.random.default_rng(0)
    tokens = np.where(rng.random(60) < 0.1, 99, rng.integers(0, 3, 60))
    whole, piecewise = text(tokens), Text(sequence(tokens))
    for cut in (slice(0, 1), slice(1, 20), slice(20, 20), slice(20, 60)):
        piecewise.extend(tokens[cut], frozenset({99}))
    assert np.array_equal(whole.runs, piecewise.runs)
    for end in range(59):
        run = 0
        while run <= end and tokens[end - run] == tokens[59 - run] != 99:
            run += 1
        assert whole.runs[end] == run


@pytest.mark.parametrize(
    ("rule", "said"), [("earliest", [5, 6]), ("recent", [8, 9]), ("vote", [8, 9])]
)
def test_which_place_speaks(rule, said):
    told = text([1, 2, 5, 6, 1, 2, 8, 7, 1, 2, 8, 9, 0, 1, 2])
    assert quoted(told, rule, 2).tolist() == said


def test_a_shorter_match_speaks_where_too_little_is_left():
    told = text([2, 5, 6, 7, 8, 1, 2, 9, 1, 2])  # after "1 2" three tokens are left
    assert quoted(told, "earliest", 4).tolist() == [5, 6, 7, 8]
    assert quoted(told, "earliest", 3).tolist() == [9, 1, 2]


def test_prompt_lookup_wants_ten_tokens():
    body = list(range(10, 22))
    told = text([3, *body, 2, 3, 40, 1, 2, 3])  # "2 3" has only four left
    assert quoted(told, "pld", 15).tolist() == body[:10]
    assert quoted(told, "pld", 4).tolist() == body[:4]
    assert not len(quoted(text([3, 4, 5, 3]), "pld", 15))


def test_a_chain_keeps_to_its_budget_and_ends_before_a_picture():
    one = sequence([1, 2, 5, 99, 6, 1, 2])
    drafter = Chain("earliest", FACTS)
    (tree,) = drafter.draft([one], [Budget(16, 3)])
    assert tree.tokens.tolist() == [2, 5]
    tree.check()
    one.extend(np.array([7, 1, 2]))
    (tree,) = drafter.draft([one], [Budget(2, 8)])
    assert tree.tokens.tolist() == [2, 5]
    drafter.forget("a/0")
    assert not drafter._texts
    (alone,) = Chain("recent", FACTS).draft([sequence([1, 2, 3])], [Budget(16, 16)])
    assert len(alone) == 1
