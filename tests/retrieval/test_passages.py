"""Passages: every token once, cuts where the text pauses, and in the order of the document."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mmspec.retrieval.lexical import Lexical, words
from mmspec.retrieval.passages import GAP, Passage, choose, cut, find, joined, strengths

TEXT = st.text(st.sampled_from("ab1 .!?,;\n\t\"')。文🦊"), max_size=200)


@st.composite
def tokenised(draw):
    """A text and tokens that hold all of it; some characters have several."""
    text = draw(TEXT)
    ends = draw(st.sets(st.integers(1, len(text)), max_size=len(text))) if text else set()
    places = sorted({0, *ends, len(text)})
    offsets = []
    for start, end in itertools.pairwise(places):
        offsets += [(start, end)] * (draw(st.integers(1, 3)) if end - start == 1 else 1)
    return text, np.array(offsets, np.int64).reshape(-1, 2)


SIZES = st.integers(1, 12).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(0, (size - 1) // 2))
)


@given(tokenised(), SIZES)
def test_every_token_has_its_passage(made, sizes):
    (text, offsets), (size, overlap) = made, sizes
    passages = cut(text, offsets, size, overlap)
    assert bool(passages) == bool(len(offsets))
    before = None
    for passage in passages:
        assert 0 < len(passage) <= size
        assert (passage.start, passage.end) == (
            offsets[passage.first, 0], offsets[passage.last - 1, 1]
        )  # fmt: skip
        if before is None:
            assert passage.first == 0
        else:
            assert before.first < passage.first
            assert before.last - overlap <= passage.first <= before.last - (overlap > 0)
            assert before.last < passage.last
        before = passage
    assert before is None or before.last == len(offsets)


@given(tokenised(), SIZES)
def test_cuts_are_the_strongest_there_are(made, sizes):
    (text, offsets), (size, overlap) = made, sizes
    pauses = strengths(text, offsets)
    for passage in cut(text, offsets, size, overlap)[:-1]:
        low = passage.first + size // 2 + 1
        window = pauses[low : passage.first + size + 1]
        assert pauses[passage.last] == window.max()
        assert (pauses[passage.last + 1 : passage.first + size + 1] < window.max()).all()


@given(tokenised(), st.integers(1, 12))
def test_nothing_of_the_text_is_lost_or_said_twice(made, size):
    text, offsets = made
    passages = cut(text, offsets, size)
    assume(all(a.end <= b.start for a, b in itertools.pairwise(passages)))
    assert "".join(text[one.start : one.end] for one in passages) == text
    assert joined(text, passages) == text.strip()


@given(tokenised(), SIZES, st.integers(0, 60), st.data())
def test_what_is_chosen_stands_in_order_and_fits(made, sizes, tokens, data):
    (text, offsets), (size, overlap) = made, sizes
    passages = cut(text, offsets, size, overlap)
    count = len(passages)
    levels = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])
    drawn = data.draw(st.lists(levels, min_size=count, max_size=count))
    scores = np.array(drawn, np.float32)
    chosen = choose(passages, scores, tokens)
    assert chosen == sorted(chosen, key=lambda one: one.first)
    assert sum(map(len, chosen)) <= tokens
    index = dict(zip(passages, scores.tolist(), strict=True))
    assert all(index[one] > 0 for one in chosen)
    left = [one for one in passages if one not in chosen and index[one] > 0]
    for one in left:  # it did not fit beside those that are nearer
        nearer = sum(len(other) for other in chosen if index[other] >= index[one])
        assert len(one) > tokens - nearer
    told = joined(text, chosen)
    assert len(told) <= len(text) + len(GAP) * max(len(chosen) - 1, 0)


def offsets_of(text):
    """A token a word, with the space before it."""
    spaces = [match.start() for match in re.finditer(r"(?<=\S)\s", text)]
    return np.array(list(itertools.pairwise([0, *spaces, len(text)])), np.int64)


def test_pauses_by_their_strength():
    text = "One two, three. Four (five.) Six\nseven\n\n eight 文。字"
    letters = np.array([(i, i + 1) for i in range(len(text))])
    pauses = strengths(text, letters).tolist()
    wanted = {"two,": 1, "thre": 2, "Four": 3, "Six": 3, "seve": 4, "eigh": 5, "字": 3, "wo": 0}
    assert {word: pauses[text.index(word)] for word in wanted} == wanted


def test_paragraphs_stay_whole_where_they_can():
    paragraph = "one two three. five six seven. eight nine ten."
    text = "\n\n".join([paragraph] * 4)
    found = cut(text, offsets_of(text), 14)
    assert [text[one.start : one.end].strip() for one in found] == [paragraph] * 4
    found = cut(text, offsets_of(text), 8)
    assert all(text[one.start : one.end].strip().endswith(".") for one in found)
    overlapping = cut(text, offsets_of(text), 8, 3)
    starts = [text[one.start : one.end].split()[0] for one in overlapping]
    assert set(starts) <= {"one", "five", "eight"}


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (4, 2), (4, -1), (1, 1)])
def test_sizes_that_make_no_passages(size, overlap):
    with pytest.raises(ValueError, match="passages"):
        cut("a", np.array([[0, 1]]), size, overlap)


def test_a_long_text_is_cut_in_no_time_of_note():
    """Three million characters; a second is a hundred times what it takes."""
    text = "The keeper of the lamp wrote it down. " * 80_000
    passages = cut(text, offsets_of(text), 512, 64)
    assert len(passages) > 1000


def test_touching_passages_become_one_and_others_have_a_gap():
    text = "aa bb cc dd"
    passages = [Passage(0, 1, 0, 2), Passage(1, 2, 3, 5), Passage(2, 3, 4, 5), Passage(3, 4, 9, 11)]
    assert joined(text, passages) == "aa bb\n\ndd"
    assert joined(text, []) == ""


SECTIONS = [
    "Ann keeps goats in the garden.",
    "The captain of the Bobbin is Bob.",
    "",
    "The garden has a wall. The wall is red, and the wall is high.",
    "船长的名字是鲍勃。",
    "...",
]


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("Who is the CAPTAIN of the Bobbin?", 1),
        ("goats", 0),
        ("How high is the wall?", 3),
        ("船长是谁", 4),
    ],
)
def test_words_find_what_is_asked(question, best):
    scores = Lexical().read(SECTIONS).scores(question)
    assert scores.dtype == np.float32
    assert scores.shape == (len(SECTIONS),)
    assert int(scores.argmax()) == best
    assert (scores >= 0).all()


@pytest.mark.parametrize("question", ["", "?!", "zebra"])
def test_words_that_are_nowhere_find_nothing(question):
    assert not Lexical().read(SECTIONS).scores(question).any()
    assert not Lexical().read(["", "..."]).scores(question).any()


SAID = st.text(st.sampled_from("ab c文1_."), max_size=12)


@given(st.lists(SAID, min_size=1, max_size=6), SAID)
def test_near_is_what_shares_a_word(passages, question):
    scores = Lexical().read(passages).scores(question)
    shared = [bool(set(words(one)) & set(words(question))) for one in passages]
    assert (scores > 0).tolist() == shared


def test_the_passages_of_a_question_in_their_own_order():
    text = "\n\n".join(f"Section {i}. The number of room {i} is {i * 7}." for i in range(40))
    passages = cut(text, offsets_of(text), 12)
    ranking = Lexical().read([text[one.start : one.end] for one in passages])
    told = find(text, passages, ranking, "What are the numbers of section 31 and section 8?", 24)
    assert (
        told
        == "Section 8. The number of room 8 is 56.\n\nSection 31. The number of room 31 is 217."
    )
    assert find(text, passages, ranking, "zebra", 24) == ""
