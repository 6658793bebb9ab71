"""Finding the longest match and what followed it, against looking everywhere."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval.shelves import KNOWN, WIDE, in_memory, occurrences

from mmspec.retrieval.memtable import Memtable
from mmspec.retrieval.quotes import Quotes
from mmspec.retrieval.segment_search import longest, occurring, sample, tail
from mmspec.retrieval.segment_sort import bucket_starts, suffix_array
from mmspec.retrieval.stack import LADDER, LEVELS, Stack

IDS = st.sampled_from([0, 1, 2, 3, 49])
TEXTS = st.lists(st.lists(IDS, min_size=1, max_size=12), min_size=1, max_size=5)
CONTEXT = st.lists(IDS, max_size=8)
BARS = np.array([50, 3], np.int64)
DEPTH = 8


def remembered(texts, known=KNOWN):
    table = Memtable(known, DEPTH)
    for text in texts:
        table.add(np.array(text), 0)
    return table.segment


def segments(texts):
    yield in_memory(texts)
    yield in_memory(texts, bucketed=False)
    yield in_memory(texts, WIDE)
    yield remembered(texts)
    yield remembered(texts, WIDE)


def expected_match(texts, context, least):
    for length in range(len(context), least - 1, -1):
        if occurrences(texts, context[-length:]):
            return length
    return 0


def frozen(ids) -> np.ndarray:
    array = np.array(ids, np.int64)
    array.flags.writeable = False
    return array


def cut(rest, reach):
    """As far as nothing barred stands in it."""
    barred = [place for place, token in enumerate(rest) if token == 3]
    return rest[: min([*barred, reach])]


@given(TEXTS, CONTEXT, st.integers(1, 4))
def test_the_longest_match_and_all_its_continuations(texts, context, least):
    expected = expected_match(texts, context, least)
    for one in segments(texts):
        match = longest(one.tokens, one.order, one.buckets, frozen(context), least)
        assert match[0] == expected
        if not expected:
            continue
        after = occurrences(texts, context[-expected:])
        assert match[2] - match[1] == len(after)
        rows, lengths = np.empty((99, 5), np.int32), np.empty(99, np.int32)
        filled = sample(one.tokens, one.order, one.starts, one.dead, match, BARS, rows, lengths)
        found = [rows[row, : lengths[row]].tolist() for row in range(filled)]
        assert sorted(found) == sorted(filter(None, (cut(rest, 5) for rest in after)))


@given(
    st.lists(st.integers(0, 69_999), min_size=1, max_size=60), st.sampled_from([50, 250, 69_999])
)
def test_places_are_sorted_by_all_that_follows(ids, most):
    """Ids of one, two and three bytes."""
    tokens = np.array(ids, np.int32) % (most + 1)
    order = suffix_array(tokens, 70_000)
    assert order.dtype == np.int32
    assert order.tolist() == sorted(range(len(ids)), key=lambda place: tokens[place:].tolist())
    starts = bucket_starts(tokens, 70_000)
    first = tokens[order]
    for token in set(tokens.tolist()):
        assert np.all(first[starts[token] : starts[token + 1]] == token)
        assert starts[token + 1] - starts[token] == np.sum(tokens == token)


def test_many_different_ids_take_three_bytes():
    tokens = np.random.default_rng(0).permutation(70_000).astype(np.int32)
    assert suffix_array(tokens, 70_000).tolist() == np.argsort(tokens).tolist()


@pytest.mark.parametrize("make", [in_memory, remembered])
def test_occurrences_are_sampled_evenly(make):
    """Trap: the first so many in sorted order are those with the smallest continuations."""
    one = make([[7, after] for after in range(10, 40)] * 3)
    match = longest(one.tokens, one.order, one.buckets, frozen([7]), 1)
    rows, lengths = np.empty((9, 5), np.int32), np.empty(9, np.int32)
    filled = sample(one.tokens, one.order, one.starts, one.dead, match, BARS, rows, lengths)
    assert filled == 9
    assert np.ptp(np.diff(rows[:, 0])) <= 1
    assert rows[0, 0] <= 12
    assert rows[-1, 0] >= 37


def test_a_corpus_of_one_token_and_one_of_one_token_repeated():
    for make in (in_memory, remembered):
        one = make([[5]])
        assert longest(one.tokens, one.order, one.buckets, frozen([5]), 1)[0] == 1
        assert Quotes.find(Stack([one]), frozen([5]), BARS, (8, 1, 4, 4)) is None
        many = make([[5] * 3000])
        said = Quotes.find(Stack([many]), frozen([5] * 40), BARS, (8, 1, 64, 24))
        assert said.matches[0] == 8
        assert said.levels[0].tolist() == [0, 64]
        assert set(said.rows[said.lengths == 24].flat) == {5}


def test_dead_texts_are_silent():
    one = in_memory([[1, 2, 7], [1, 2, 8], [1, 2, 9]])
    one.dead = np.array([0, 1, 0], np.uint8)
    one.dead.flags.writeable = False
    said = Quotes.find(Stack([one]), frozen([1, 2]), BARS, (8, 1, 64, 24))
    assert sorted(said.rows[:, 0].tolist()) == [7, 9]


def test_several_segments_vote_by_how_often_each_saw_it():
    """The longest match anywhere counts; what ties is drawn together, sorted, weighed."""
    near, far = in_memory([[1, 2, 7]] * 9), in_memory([[1, 2, 6], [4, 1, 2, 5]])
    both = Quotes.find(Stack([near, far]), frozen([1, 2]), BARS, (8, 1, 4, 24))
    assert both.matches.tolist() == [2]
    assert both.rows[:, 0].tolist() == [5, 6, 7, 7]
    assert both.weights.tolist() == [1, 1, 4.5, 4.5]
    longer = Quotes.find(Stack([near, far]), frozen([4, 1, 2]), BARS, (8, 3, 4, 24))
    assert (longer.matches.tolist(), longer.rows[:, 0].tolist()) == ([3], [5])
    assert near.used[0] == 1
    assert far.used[0] == 2


def test_shorter_matches_speak_after_the_longest_where_they_know_more():
    one = in_memory([[8, 4, 1, 2, 5], [4, 1, 2, 5], [1, 2, 6], [2, 7]])
    said = Quotes.find(Stack([one]), frozen([8, 4, 1, 2]), BARS, (8, 1, 8, 24))
    assert said.matches.tolist() == [4, 3, 2, 1]
    told = [said.rows[first:end, 0].tolist() for first, end in said.levels]
    assert told == [[5], [5, 5], [5, 5, 6], [5, 5, 6, 7]]
    near = Quotes.find(Stack([one]), frozen([9, 4, 1, 2]), BARS, (8, 2, 8, 24))
    assert near.matches.tolist() == [3, 2]
    twice = Stack([in_memory([[8, 4, 1, 2, 5]])])
    assert Quotes.find(twice, frozen([8, 4, 1, 2]), BARS, (8, 1, 8, 24)).matches.tolist() == [4]


def test_where_the_longest_match_ends_a_text_shorter_ones_speak():
    one = in_memory([[1, 2], [2, 7]])
    said = Quotes.find(Stack([one]), frozen([1, 2]), BARS, (8, 1, 8, 24))
    assert said.matches.tolist() == [1]
    assert said.rows[:, 0].tolist() == [7]
    assert said.weights.tolist() == [2]


def expected_levels(texts, context, least):
    """What followed the longest match and ever shorter ones, each where it knows more."""
    levels, heard = [], 0
    top = expected_match(texts, context, least)
    for length in (top, *(rung for rung in LADDER if rung < top)):
        if length < least or length == 0 or len(levels) == LEVELS:
            break
        after = occurrences(texts, context[-length:])
        told = sorted(filter(None, (cut(rest, 5) for rest in after)))
        if len(after) != heard and told:
            levels.append((length, told))
        heard = len(after)
    return levels


@given(st.lists(TEXTS, min_size=1, max_size=3), CONTEXT, st.integers(1, 3))
def test_several_segments_are_searched_as_one(piles, context, least):
    makers = in_memory, remembered, lambda texts: in_memory(texts, bucketed=False)
    stack = Stack([make(texts) for make, texts in zip(makers, piles, strict=False)])
    said = Quotes.find(stack, frozen(context), BARS, (DEPTH, least, 400, 5))
    known = context[len(context) - tail(frozen(context), BARS, DEPTH) :]
    expected = expected_levels([text for texts in piles for text in texts], known, least)
    if said is None:
        assert not expected
        return
    assert said.matches.tolist() == [length for length, _ in expected]
    for (first, end), (_, told) in zip(said.levels, expected, strict=True):
        rows = [said.rows[row, : said.lengths[row]].tolist() for row in range(first, end)]
        assert sorted(rows) == told
        for depth in range(1, 6):  # those that begin alike stand together
            begin = [tuple(row[:depth]) for row in rows]
            assert len(list(itertools.groupby(begin))) == len(set(begin))


def test_a_stack_is_of_segments_as_they_are():
    one, other = in_memory([[1, 2]]), in_memory([[1, 3]])
    stack = Stack([one])
    assert stack.holds([one])
    assert not stack.holds([other])
    assert not stack.holds([one, other])
    assert not stack.holds([])
    one.dead = np.zeros(1, np.uint8)
    assert not stack.holds([one])
    assert Quotes.find(Stack([]), frozen([1]), BARS, (8, 1, 8, 24)) is None


@given(TEXTS, st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6), st.integers(1, 6))
def test_occurrences_of_one_length_are_all_there_are(texts, context, length):
    length = min(length, len(context))
    had = len(occurrences(texts, context[-length:]))
    for make in (in_memory, remembered):
        one = make(texts)
        given_ = one.tokens, one.order, one.buckets, frozen(context)
        found, first, end = occurring(*given_, length)
        assert end - first == had
        assert found == (length if had else 0)


@given(st.lists(st.sampled_from([1, 2, 3, 60]), max_size=9), st.integers(1, 9))
def test_no_match_reaches_over_what_is_barred(text, most):
    clean = 0
    while clean < min(most, len(text)) and text[-1 - clean] not in (3, 60):
        clean += 1
    assert tail(frozen(text), BARS, most) == clean


ROTTEN = """
import numpy as np
from mmspec.retrieval.segment_search import longest, occurring, sample
from mmspec.retrieval.votes import PRIOR, arrange, grow
noise = np.random.default_rng(0)
bars = np.array([50, 3])
found = 0
for _ in range(400):
    count = int(noise.integers(1, 40))
    tokens = noise.integers(0, noise.choice([4, 4, 60, 1 << 16]), count).astype(np.uint16)
    order = np.argsort(tokens)
    rotten = noise.random(count) < 0.3
    wild = (-2**31, 2**31 - 1) if noise.random() < 0.5 else (-3, count + 3)
    order[rotten] = noise.integers(*wild, rotten.sum())
    buckets = noise.integers(-5, count + 5, 52) if noise.random() < 0.7 else np.zeros(0, int)
    starts = np.array([0, count // 2, count])
    context = noise.integers(0, 4, noise.integers(1, 9))
    match = longest(tokens, order.astype(np.int32), buckets.astype(np.int32), context, 1)
    if match[0]:
        rows, lengths = np.zeros((8, 6), np.int32), np.zeros(8, np.int32)
        dead = np.array([1, 0], np.uint8)[: noise.integers(0, 3)]
        filled = sample(tokens, order, starts, dead, match, bars, rows, lengths)
        rows, lengths = rows[:filled], lengths[:filled]
        for row, length in zip(rows, lengths):
            assert 0 < length <= 6 and np.all((row[:length] >= 0) & (row[:length] < 50))
        if filled:
            found += 1
            arrange(rows, lengths, np.ones(filled))
            levels, matches = np.array([[0, filled]], np.int32), np.array(match[:1], np.int32)
            said = rows, lengths, np.ones(filled), levels, matches
            grow(*said, PRIOR.copy(), bars[:0], (1, 9, 4, 0.01))
        short = occurring(tokens, order.astype(np.int32), buckets.astype(np.int32), context, 1)
        assert 0 <= short[1] <= short[2] <= count
assert found > 20, found
"""


def test_rotten_arrays_make_worse_guesses_and_nothing_worse():
    """Uncompiled, so that an index beyond an array raises instead of reading on."""
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ROTTEN],
        check=False, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
