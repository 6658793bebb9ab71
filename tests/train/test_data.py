"""The generators: pure functions of the seed, true answers, disjoint splits."""

import numpy as np
import pytest

from mmspec.train.data import copying, documents, picture_language, pictures, source
from mmspec.train.data.mixture import Mixture, converse
from mmspec.train.data.seeds import example_seed
from mmspec.train.probe import described, description_trials


@pytest.mark.parametrize("draw", [pictures.scene, pictures.chart, pictures.word])
def test_a_picture_is_a_function_of_its_seed(draw):
    (one, told), (two, again), (other, _) = draw(7), draw(7), draw(8)
    assert told == again
    assert np.array_equal(np.asarray(one), np.asarray(two))
    assert not np.array_equal(np.asarray(one), np.asarray(other))
    assert one.size == (96, 96)


def test_splits_never_share_a_seed_nor_a_scene():
    train = {example_seed("train", k) for k in range(2000)}
    held = {example_seed("held_out", k) for k in range(2000)}
    assert not train & held
    seen = {pictures.scene(seed, 4)[1] for seed in list(train)[:300]}
    assert not seen & {trial.facts for trial in description_trials(40)}


def test_every_scene_answer_is_true():
    for seed in range(60):
        _, facts = pictures.scene(seed)
        for asked in picture_language.questions(facts, seed):
            if asked.kind == "lookup":
                at = [t.phrase for t in facts.things if f"the {t.place}?" in asked.question]
                assert asked.answer == (f"A {at[0]}." if at else "Nothing.")
            if asked.kind == "existence":
                there = any(f"{t.colour} {t.shape}" in asked.question for t in facts.things)
                assert asked.answer == ("Yes." if there else "No.")


def test_a_description_tells_every_fact():
    for seed in range(60):
        _, facts = pictures.scene(seed, 1 + seed % 5)
        truth = {t.place: (t.size, t.colour, t.shape) for t in facts.things}
        assert described(picture_language.describe(facts)) == truth


def test_document_answers_stand_in_the_document():
    for seed in range(30):
        made, pairs = documents.document(seed, 300)
        assert documents.document(seed, 300)[0] == made
        for pair in pairs:
            if pair.kind == "fact":
                assert pair.answer.split('"')[1] in made.text
                assert pair.value in pair.answer
            if pair.kind == "quote":
                assert pair.answer in made.text


@pytest.mark.parametrize("draw", [copying.key_values, copying.passkey])
def test_what_is_asked_for_was_given(draw):
    for seed in range(20):
        text, pairs = draw(seed, 80)
        assert all(pair.value in text and pair.value in pair.answer for pair in pairs)


def test_a_repeat_holds_its_answer():
    _, pairs = copying.repeat(3, 30)
    assert pairs[0].question.endswith(pairs[0].answer)


def test_source_is_real_and_bounded():
    text = source.excerpt(5, 100)
    assert text == source.excerpt(5, 100)
    assert 0 < len(text) <= 330


def test_an_unknown_kind_is_refused():
    with pytest.raises(KeyError):
        converse("poetry", 0, Mixture(shares={"poetry": 1.0}))
