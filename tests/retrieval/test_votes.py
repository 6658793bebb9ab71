"""Trees out of sampled continuations, against a slow reference."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmspec.core.tree import TokenTree
from mmspec.retrieval.automaton import BUCKET
from mmspec.retrieval.votes import PRIOR, RATE, SURE, arrange, grow, learn

REACH = 5
ROWS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=REACH),
        st.sampled_from([1.0, 2.5]),
    ),
    min_size=1,
    max_size=12,
)


def packed(rows):
    """As the sampler hands them out."""
    ids = np.full((len(rows), REACH), 77, np.int32)
    for row, (text, _) in enumerate(rows):
        ids[row, : len(text)] = text
    lengths = np.array([len(text) for text, _ in rows], np.int32)
    weights = np.array([weight for _, weight in rows])
    arrange(ids, lengths, weights)
    return ids, lengths, weights


def reference(rows, match, nodes, depth, floor, stops=()):
    """Scores of the best guesses, and where they stand."""
    taken, frontier = {}, [(-1.0, ())]
    while frontier and len(taken) < nodes:
        key, path = heapq.heappop(frontier)
        taken[path] = -key
        if len(path) >= depth or (path and path[-1] in stops):
            continue
        trusted = min(max(PRIOR[BUCKET[min(match + len(path), 25)]], 1 - SURE), SURE)
        here = [(t, w) for t, w in rows if tuple(t[: len(path)]) == path and len(t) > len(path)]
        for token in {text[len(path)] for text, _ in here}:
            votes = sum(weight for text, weight in here if text[len(path)] == token)
            chance = -key * trusted * votes / sum(weight for _, weight in here)
            if chance >= floor:
                heapq.heappush(frontier, (-chance, (*path, token)))
    return taken


@given(ROWS, st.integers(1, 30), st.integers(1, 12), st.integers(0, 6), st.sampled_from([0.0, 0.1]))
def test_the_tree_holds_the_likeliest_guesses(rows, match, nodes, depth, floor):
    stops = np.array([2], np.int64)
    made = grow(*packed(rows), match, PRIOR.copy(), stops, (9, nodes, depth, floor))
    tree = TokenTree(*made)
    tree.check()
    assert tree.tokens[0] == 9
    assert len(tree) <= nodes
    expected = reference(rows, match, nodes, depth, floor, stops=(2,))
    np.testing.assert_allclose(sorted(np.exp(tree.scores)), sorted(expected.values()), rtol=1e-4)


@given(ROWS)
def test_arranging_sorts_and_loses_nothing(rows):
    ids, lengths, weights = packed(rows)
    texts = [ids[row, : lengths[row]].tolist() for row in range(len(ids))]
    assert texts == sorted(texts)
    told = sorted((text, weight) for text, weight in zip(texts, weights.tolist(), strict=True))
    assert told == sorted((list(text), weight) for text, weight in rows)


@pytest.mark.parametrize(
    ("coming", "right", "wrong"), [([0, 1, 1], 3, 0), ([0, 2], 1, 1), ([2], 0, 1), ([0, 1], 2, 0)]
)
def test_trust_follows_what_came(coming, right, wrong):
    """One look a token, as far as text and quotes go together; by length of match."""
    ids, lengths, _ = packed([([0, 1, 1], 1.0), ([0, 1, 2], 1.0), ([1], 1.0)])
    trust = PRIOR.copy()
    learn(ids, lengths, 2, trust, np.array(coming))
    expected = PRIOR.copy()
    for depth in range(right + wrong):
        place = BUCKET[2 + depth]
        expected[place] += RATE * ((depth < right) - expected[place])
    np.testing.assert_allclose(trust, expected)
