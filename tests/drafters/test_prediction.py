"""The prediction drafter: it follows, loses the place, and finds it again."""

from __future__ import annotations

import numpy as np
import pytest
from drafters.markov import FACTS, MEDIA, STOP, VOCABULARY, Markov, prefill, sequence, step

from mmspec.core.drafter import Budget
from mmspec.core.request import Prompt, Request
from mmspec.retrieval.prediction import Config, build

DRAFTER = build(Config(), FACTS)
BUDGET = Budget(16, 12)
TEXT = np.random.default_rng(3).integers(0, 28, 150)


class Says:
    """A target that says one text, whatever is guessed."""

    def __init__(self, start: int, text) -> None:
        self._start, self._text = start, np.append(text, np.full(40, 28))

    def next(self, _token: int, position: int) -> int:
        return int(self._text[position - self._start])

    top = staticmethod(Markov().top)


def rounds(prediction, text, budget=BUDGET) -> int:
    """Passes for a text after its first token, where this was predicted."""
    one, target = sequence("one", [1, 2, 3], prediction=np.asarray(prediction)), Says(3, text)
    prefill(DRAFTER, [one], target)
    count = 0
    while len(one.output) < len(text):
        step(DRAFTER, [one], [budget], target)
        count += 1
    DRAFTER.forget(one.id)
    return count


def test_what_was_predicted_comes_as_fast_as_trees_are_deep():
    assert rounds(TEXT, TEXT) == -(-(len(TEXT) - 1) // 13)


EDITS = {
    "a token for a token": np.concatenate([TEXT[:60], [28], TEXT[61:]]),
    "three for three": np.concatenate([TEXT[:60], [28, 31, 28], TEXT[63:]]),
    "some more": np.concatenate([TEXT[:60], [28, 31, 28], TEXT[60:]]),
    "some fewer": np.concatenate([TEXT[:60], TEXT[70:]]),
    "a beginning of its own": np.concatenate([[28, 31], TEXT]),
    "from the middle on": TEXT[75:],
    "a part moved": np.concatenate([TEXT[:30], TEXT[90:], TEXT[30:90]]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_after_a_change_it_finds_the_place_again(edit):
    text = EDITS[edit]
    least = -(-len(text) // 13)
    # Each token that was not predicted costs a pass at most, finding the place again a few.
    assert rounds(TEXT, text) <= least + 8


def test_one_name_for_another_is_resumed_at_once():
    """Everywhere in a text: then the guess after the new name needs no token to go by."""
    parts = np.split(TEXT[:140], 14)
    before = np.concatenate([np.append(part, 30 + 1) for part in parts])
    after = np.concatenate([np.append(part, 28) for part in parts])
    assert rounds(before, after) <= 14 + 4


def test_what_is_wrong_falls_silent():
    other = np.random.default_rng(9).integers(0, 14, 100)
    one, target = sequence("off", [1, 2, 3], prediction=other + 14), Says(3, other)
    prefill(DRAFTER, [one], target)
    sizes = [len(step(DRAFTER, [one], [BUDGET], target)[0]) for _ in range(80)]
    assert sizes[0] > 1
    assert sizes[40:] == [1] * 40
    DRAFTER.forget(one.id)


def test_a_prediction_is_no_text_to_be_quoted_from_the_prompt():
    """Only the answer is followed; what the prompt says is the suffix drafter's."""
    one = sequence("p", [*TEXT[:20]], prediction=TEXT)
    tree = DRAFTER.draft([one], [BUDGET])[0]
    assert tree.tokens[1:].tolist() == TEXT[:12].tolist()
    DRAFTER.forget(one.id)


def test_pictures_and_unknown_ids_are_left_out():
    odd = np.array([5, MEDIA, MEDIA, 6, VOCABULARY, -3, 1000, 7, STOP, 8])
    one = sequence("odd", [1], prediction=odd)
    tree = DRAFTER.draft([one], [BUDGET])[0]
    assert tree.tokens.tolist() == [1, 5, 6, 7, STOP]
    DRAFTER.forget(one.id)


@pytest.mark.parametrize("nothing", [[], [MEDIA, MEDIA]])
def test_without_anything_it_guesses_nothing(nothing):
    one = sequence("none", [1], prediction=np.array(nothing, np.int64))
    assert len(DRAFTER.draft([one], [BUDGET])[0]) == 1
    DRAFTER.forget(one.id)


def test_it_watches_requests_with_a_prediction_that_fits():
    prompt = Prompt(np.array([1]))
    assert DRAFTER.declines(Request("a", prompt)) == "no prediction"
    assert DRAFTER.declines(Request("a", prompt, prediction=TEXT)) is None
    long = Request("a", prompt, prediction=np.zeros(FACTS.context + 1, np.int64))
    assert DRAFTER.declines(long) == "the prediction has 4097 tokens, the context 4096"


def test_the_longest_prediction_takes_the_room_it_said():
    dice = np.random.default_rng(0)
    for text in (dice.integers(0, 28, FACTS.context), np.tile([1, 2], FACTS.context // 2)):
        one = sequence("long", [1], prediction=text)
        DRAFTER.draft([one], [BUDGET])
        reader = DRAFTER._readers[one.id]
        assert reader.text.bytes + reader.other.nbytes <= DRAFTER.room(1)
        DRAFTER.forget(one.id)
