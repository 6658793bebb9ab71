"""What is cut out of a long prompt: whole passages, in order, by the prompt's own ids."""

from __future__ import annotations

import numpy as np
import pytest
from ranking import Shared, pieces

from mmspec.core.config import ModelConfig
from mmspec.longctx.excerpt import (
    Measures,
    Spelt,
    excerpt,
    passages,
    pause_levels,
    question_start,
)
from mmspec.model.load import load_processor

MEASURES = Measures(
    head=4, tail=20, passage=16, question=12, share=10, at_least=32, at_most=48
)  # fmt: skip
SENTENCE, LINE, PARAGRAPH = 90, 91, 92
ENDS = {SENTENCE: b"end. ", LINE: b" \n", PARAGRAPH: b".\n\n"}
SPELT = Spelt([ENDS.get(id, piece) for id, piece in enumerate(pieces(100))])


class Told:
    """Relevance as it is told, passage by passage."""

    def __init__(self, *relevance):
        self.relevance = relevance

    def read(self, passages):
        self.passages = passages
        return self

    def scores(self, question):
        self.question, count = question, len(self.passages)
        return np.array([*self.relevance, *[0.0] * count][:count], np.float32)


def test_it_begins_and_ends_as_the_prompt_does_with_the_best_passages_in_order():
    ids, ranker = np.arange(300) % 90, Told(0.0, 0.3, 0.0, 0.9, 0.0, 0.5)
    told = excerpt(ids, SPELT, ranker, MEASURES)  # room for two of sixteen
    spans = [slice(4 + 16 * n, 20 + 16 * n) for n in (3, 5)]
    want = np.concatenate([ids[:4], *(ids[span] for span in spans), ids[-20:]])
    assert np.array_equal(told, want)
    assert ranker.question == SPELT.text(ids[-12:])
    assert "".join(ranker.passages) == SPELT.text(ids[4:-20])


def test_what_follows_a_relevant_passage_comes_before_a_less_relevant_one():
    ids = np.arange(300) % 90
    ranker = Told(0.0, 0.3, 0.0, 0.9, 0.0, 0.5)
    told = excerpt(ids, SPELT, ranker, MEASURES._replace(follow=1))
    assert np.array_equal(told[4:-20], ids[4 + 16 * 3 : 4 + 16 * 5])
    wide = excerpt(ids, SPELT, ranker, MEASURES._replace(follow=1, at_least=48))
    spans = [slice(4 + 16 * n, 20 + 16 * n) for n in (3, 4, 5)]
    assert np.array_equal(wide[4:-20], np.concatenate([ids[span] for span in spans]))
    last = excerpt(ids, SPELT, Told(*[0.0] * 17, 1.0), MEASURES._replace(follow=3))
    assert len(last) <= MEASURES.most  # nothing follows the last passage


@pytest.mark.parametrize("relevance", [(), (0.0, 0.7), (-1.0, -2.0, 3.0)])
def test_without_two_passages_it_is_the_beginning_and_the_end(relevance):
    ids = np.arange(300) % 90
    told = excerpt(ids, SPELT, Told(*relevance), MEASURES)
    want = np.concatenate([ids[: 4 + 4], ids[-20 - 28 : -20], ids[-20:]])
    assert np.array_equal(told, want)


@pytest.mark.parametrize("length", [1, 23, 24, 25, 40, 57, 80, 1000, 5000])
@pytest.mark.parametrize("relevant", [True, False])
def test_it_is_never_longer_than_its_measures(length, relevant):
    ids = np.random.default_rng(length).integers(0, 100, length)
    told = excerpt(ids, SPELT, Told(*np.arange(500) * float(relevant)), MEASURES)
    assert len(told) <= min(MEASURES.most, length)
    assert np.array_equal(told[-20:], ids[-20:])
    if length == 1000 and relevant:
        assert len(told) > 4 + 20 + 48 - 16


def test_passages_end_where_the_text_pauses():
    levels = np.zeros(50, np.int8)
    levels[[9, 12, 14]] = 2, 3, 1  # the strongest of the second half
    levels[[22, 26]] = 1, 1  # the last of equals
    assert passages(levels, 16).tolist() == [[0, 13], [13, 27], [27, 43], [43, 50]]
    assert passages(levels[:0], 16).shape == (0, 2)
    levels[:] = 1
    assert passages(levels, 16)[:, 1].tolist() == [16, 32, 48, 50]


def test_two_line_ends_are_a_paragraphs():
    ids = np.array([5, LINE, 6, LINE, LINE, 7, SENTENCE, LINE, PARAGRAPH, LINE, 9])
    assert pause_levels(ids, SPELT.pauses).tolist() == [0, 2, 0, 2, 3, 0, 1, 2, 3, 3, 0]


def test_the_question_begins_after_a_lines_end_unless_only_a_template_follows():
    levels = np.zeros(100, np.int8)
    levels[[70, 90, 95]] = 2
    assert question_start(levels, MEASURES) == 91  # 95 leaves too little, 70 is too far
    levels[90] = 1
    assert question_start(levels, MEASURES) == 88


def test_the_ranker_finds_what_is_asked_for():
    dice = np.random.default_rng(0)
    ids = dice.integers(0, 40, 2000)
    ids[903:909] = [71, 72, 73, 74, 75, 76]
    ids[1503:1506] = [71, 72, 73]
    ids[-6:] = [71, 72, 73, 74, 75, 2]
    text = excerpt(ids, SPELT, Shared(), MEASURES).tobytes()
    assert ids[903:909].tobytes() in text
    assert ids[1503:1506].tobytes() in text


def test_pauses_are_read_off_the_pieces():
    told = [b"", b"a", b"a.", b"?  ", b"\n", b"x\n ", b"\n\n", b"\n\n\n", b"\r\n", b".5", b"\na"]
    assert Spelt(told).pauses.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 2, 0, 0]
    nano = load_processor(ModelConfig(path="nano"))
    spelt = Spelt(nano.pieces)
    ids = nano.text("A line.\n\nÄnother one?").ids
    assert spelt.text(ids) == "A line.\n\nÄnother one?"
    assert pause_levels(ids, spelt.pauses).max() == 3
