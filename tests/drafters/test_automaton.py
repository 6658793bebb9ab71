"""The automaton against brute force over strings."""

from __future__ import annotations

import numpy as np
from drafters.brute import longest_earlier_suffix, occurrences
from hypothesis import given, settings
from hypothesis import strategies as st

from mmspec.retrieval.automaton import (
    BRANCH,
    CLIMB,
    COUNT,
    EDGES,
    EDGES_USED,
    STATES_USED,
    TARGET,
    TOKEN,
    Automaton,
)

BARRIER = 9
texts = st.lists(st.sampled_from([0, 1, 2, 5, BARRIER]), max_size=40)


def read(text: list[int], pieces: int = 1, room: int = 1, vocabulary: int = 8) -> Automaton:
    automaton = Automaton(vocabulary, np.array([BARRIER]), room)
    for piece in np.array_split(np.array(text, np.int64), pieces):
        automaton.extend(piece)
    return automaton


def followers(automaton: Automaton, state: int) -> dict[int, int]:
    """Tokens on the edges of ``state``, with how often each occurred."""
    queue, found = [automaton.states[state, EDGES]], {}
    while queue:
        edge = queue.pop()
        if edge >= 0:
            row = automaton.edges[edge]
            found[int(row[TOKEN])] = int(automaton.states[row[TARGET], COUNT])
            queue += [row[BRANCH], row[BRANCH + 1]]
    return found


@settings(max_examples=150, deadline=None)
@given(texts, st.integers(1, 5))
def test_the_match_is_the_longest_suffix_that_ended_earlier(text, pieces):
    assert read(text, pieces).match_length == len(longest_earlier_suffix(text, BARRIER))


@settings(max_examples=100, deadline=None)
@given(texts)
def test_every_substring_is_counted(text):
    automaton = read(text)
    for start in range(len(text)):
        for end in range(start + 1, min(len(text), start + 8) + 1):
            part = text[start:end]
            counted = automaton.count(np.array(part))
            assert counted == (0 if BARRIER in part else len(occurrences(text, part)))
    assert automaton.count(np.array([7])) == 0


@settings(max_examples=150, deadline=None)
@given(texts)
def test_what_followed_the_match_is_known_with_counts(text):
    automaton, part = read(text), longest_earlier_suffix(text, BARRIER)
    if part:
        ends = [end for end in occurrences(text, part) if end < len(text)]
        expected: dict[int, int] = {}
        for end in ends:
            if text[end] != BARRIER:
                token = text[end]
                expected[token] = len(occurrences(text, [*part, token]))
        assert followers(automaton, automaton.match) == expected


@settings(max_examples=100, deadline=None)
@given(texts, st.integers(1, 8))
def test_reading_in_pieces_and_growing_change_nothing(text, pieces):
    whole, parts = read(text, room=100), read(text, pieces)
    assert parts.header.tolist() == whole.header.tolist()
    states, edges = whole.header[STATES_USED], whole.header[EDGES_USED]
    assert np.array_equal(parts.states[:states], whole.states[:states])
    assert np.array_equal(parts.edges[:edges], whole.edges[:edges])
    assert np.array_equal(parts.trust, whole.trust)


def test_the_end_of_the_text_is_not_its_own_match():
    """Trap: the current suffix is its own longest match."""
    assert read([0, 1, 2, 5]).match_length == 0
    assert read([0, 1, 2, 5, 0, 1]).match_length == 2
    assert read([3, 3, 3]).match_length == 2


def test_ids_outside_the_vocabulary_are_barriers():
    automaton = read([1, 2, 8, 1, 2, -1, 1, 2])
    assert automaton.match_length == 2
    assert followers(automaton, automaton.match) == {}
    assert automaton.count(np.array([2, 8])) == 0


def test_text_made_to_hurt_stays_small():
    """One token before everything; one token for ever; the largest vocabulary."""
    fan = np.full(20_000, 3, np.int64)
    fan[1::2] = np.arange(10_000) * 26 + 7
    for text in (fan, np.full(20_000, 262_143, np.int64)):
        automaton = Automaton(262_144, np.array([], np.int64))
        automaton.extend(text)
        assert automaton.bytes <= 72 * len(text)
        assert automaton.states.nbytes + automaton.edges.nbytes <= 2 * 80 * len(text)
    assert automaton.match_length == len(text) - 1
    assert automaton.count(text[:1]) >= CLIMB


def test_trust_follows_the_text():
    noise = np.random.default_rng(0)
    copied = read(noise.integers(0, 8, 64).tolist() * 20)
    novel = read(noise.integers(0, 8, 1280).tolist())
    assert copied.trust[-1] > 0.98
    assert np.all(copied.trust <= 1)
    assert np.all(novel.trust >= 0)
    assert novel.trust[5] < copied.trust[5] + 0.1
