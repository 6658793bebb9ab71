"""Trees out of sampled continuations, against a slow reference."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmspec.core.tree import TokenTree
from mmspec.retrieval.automaton import BUCKET
from mmspec.retrieval.votes import (
    INSTEAD,
    ONCE,
    PRIOR,
    RATE,
    SURE,
    SURELY,
    VARIOUSLY,
    arrange,
    grow,
    learn,
)

REACH = 5
ROWS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=REACH),
        st.sampled_from([1.0, 2.5]),
    ),
    min_size=1,
    max_size=12,
)


def packed(*levels):
    """As they are found: each level arranged, the longest match first."""
    rows = [row for level in levels for row in level]
    ids = np.full((len(rows), REACH), 77, np.int32)
    for row, (text, _) in enumerate(rows):
        ids[row, : len(text)] = text
    lengths = np.array([len(text) for text, _ in rows], np.int32)
    weights = np.array([weight for _, weight in rows])
    ends = np.cumsum([0, *map(len, levels)])
    for first, end in itertools.pairwise(ends):
        arrange(ids[first:end], lengths[first:end], weights[first:end])
    return ids, lengths, weights, np.stack([ends[:-1], ends[1:]], 1).astype(np.int32)


def speech(first, votes):
    """Which row of ``trust`` speaks."""
    if not first:
        return INSTEAD
    if len(votes) > 1:
        return VARIOUSLY
    return SURELY if sum(votes.values()) > 1.0 else ONCE


def said(rows, path, known):
    """What one level says after a path, but what is known: votes by token."""
    votes = {}
    for text, weight in rows:
        if tuple(text[: len(path)]) == path and len(text) > len(path):
            votes[text[len(path)]] = votes.get(text[len(path)], 0.0) + weight
    return {token: weight for token, weight in votes.items() if token not in known}


def reference(levels, matches, nodes, depth, floor, stops=()):
    """Scores of the best guesses, and where they stand."""
    taken, frontier = {}, [(-1.0, ())]
    while frontier and len(taken) < nodes:
        key, path = heapq.heappop(frontier)
        taken[path] = -key
        if len(path) >= depth or (path and path[-1] in stops):
            continue
        left, known = -key, set()
        for rows, match in zip(levels, matches, strict=True):
            votes = said(rows, path, known)
            if not votes or left < floor:
                continue
            way = speech(not known, votes)
            trusted = min(max(PRIOR[way, BUCKET[min(match + len(path), 25)]], 1 - SURE), SURE)
            for token, weight in votes.items():
                chance = left * trusted * weight / sum(votes.values())
                if chance >= floor:
                    heapq.heappush(frontier, (-chance, (*path, token)))
            left *= 1.0 - trusted
            known |= votes.keys()
    return taken


@given(
    st.lists(ROWS, min_size=1, max_size=3), st.integers(1, 30), st.integers(1, 12),
    st.integers(0, 6), st.sampled_from([0.0, 0.1]),
)  # fmt: skip
def test_the_tree_holds_the_likeliest_guesses(levels, match, nodes, depth, floor):
    """The longest match first, then what shorter ones say besides."""
    stops, matches = np.array([2], np.int64), [max(match - 3 * i, 1) for i in range(len(levels))]
    made = grow(
        *packed(*levels), np.array(matches, np.int32), PRIOR.copy(), stops,
        (9, nodes, depth, floor),
    )  # fmt: skip
    tree = TokenTree(*made)
    tree.check()
    assert tree.tokens[0] == 9
    assert len(tree) <= nodes
    expected = reference(levels, matches, nodes, depth, floor, stops=(2,))
    np.testing.assert_allclose(sorted(np.exp(tree.scores)), sorted(expected.values()), rtol=1e-4)


@given(ROWS)
def test_arranging_sorts_and_loses_nothing(rows):
    ids, lengths, weights, _ = packed(rows)
    texts = [ids[row, : lengths[row]].tolist() for row in range(len(ids))]
    assert texts == sorted(texts)
    told = sorted((text, weight) for text, weight in zip(texts, weights.tolist(), strict=True))
    assert told == sorted((list(text), weight) for text, weight in rows)


@pytest.mark.parametrize(
    ("coming", "heard"),
    [
        ([0, 1, 1], [(VARIOUSLY, 6, 1), (SURELY, 7, 1), (VARIOUSLY, 8, 1)]),
        ([0, 2], [(VARIOUSLY, 6, 1), (SURELY, 7, 0)]),
        ([2], [(VARIOUSLY, 6, 0), (INSTEAD, 2, 1)]),
        ([3, 0], [(VARIOUSLY, 6, 0), (INSTEAD, 2, 0)]),
        ([1, 1], [(VARIOUSLY, 6, 1)]),
    ],
)
def test_trust_follows_what_came(coming, heard):
    """One look a token and level, down to who said what came; by way of speaking and length."""
    levels = packed([([0, 1, 1], 1.0), ([0, 1, 2], 1.0), ([1], 1.0)], [([1], 1.0), ([2], 1.0)])
    trust = PRIOR.copy()
    learn(*levels, np.array([6, 2], np.int32), trust, np.array(coming))
    expected = PRIOR.copy()
    for way, match, came in heard:
        expected[way, BUCKET[match]] += RATE * (came - expected[way, BUCKET[match]])
    np.testing.assert_allclose(trust, expected)
