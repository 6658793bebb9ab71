"""The generators: pure functions of the seed, true answers, disjoint splits."""

import numpy as np
import pytest

from mmspec.train.data import (
    copying,
    documents,
    picture_language,
    pictures,
    programs,
    source,
)
from mmspec.train.data.conversation import Encoder
from mmspec.train.data.mixture import Mixture, converse, pack
from mmspec.train.data.seeds import example_seed
from mmspec.train.data.two_pictures import APART, two_pictures
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


@pytest.mark.parametrize("draw", [programs.write, programs.change])
def test_programs_are_python_and_a_function_of_the_seed(draw):
    seen = set()
    for seed in range(120):
        text, pairs = draw(seed, 0)
        assert draw(seed, 0) == (text, pairs)
        for pair in pairs:
            seen.add(pair.kind)
            compile(pair.value, pair.kind, "exec")
            assert pair.answer == programs.fenced(pair.value)
    assert len(seen) == (2 if draw is programs.write else 5)


def test_a_written_class_does_what_its_methods_say():
    model = programs.Model("Ship", (("name", "str"), ("mass", "int")), programs.METHODS)
    space: dict = {}
    exec(model.code(), space)
    ship = space["Ship"]("Vifais", 7)
    assert repr(ship) == "Ship(name='Vifais', mass=7)"
    assert space["Ship"].from_dict(ship.to_dict()) == ship == ship.copy()
    assert ship != space["Ship"]("Vifais", 8)
    assert ship != "Vifais"


def test_two_pictures_are_of_the_split_of_their_seed_and_told_apart():
    for seed in (7, 8):
        images, told = two_pictures(seed)
        assert APART % 2 == 0
        assert len(images) == 2
        assert not np.array_equal(np.asarray(images[0]), np.asarray(images[1]))
        assert ["first" in asked.question for asked in told] == [True] * 4 + [False] * 4


def test_a_long_row_holds_one_conversation_and_its_positions_go_on():
    class Letters:
        def encode(self, text, add_special_tokens):
            return type("Ids", (), {"ids": [ord(letter) % 50 + 10 for letter in text[:300]]})

    class Words:
        backend_tokenizer = Letters()

        def convert_tokens_to_ids(self, name):
            return len(name) % 10

    mixture = Mixture(shares={"lookup": 0.5, "passkey": 0.5}, tokens=(40, 60), alone=True)
    rows = pack(Encoder(Words()), mixture, 3, 2, 700)
    assert rows.causal
    assert np.array_equal(rows.positions, np.broadcast_to(np.arange(700), (2, 700)))
    assert set(rows.conversation.ravel()) == {0, -1}
    assert not rows.turn.any()
    again = pack(Encoder(Words()), mixture, 3, 2, 700)
    assert np.array_equal(rows.tokens, again.tokens)


def test_a_chapter_is_asked_of_texts_of_every_length():
    """One wish a text, whose answer stands there; short texts are more often asked than long."""
    mixture = Mixture(shares={"chapter": 1.0}, tokens=(400, 3000))
    told = [converse("chapter", seed, mixture) for seed in range(60)]
    for one in told:
        ((_, answer),) = one.turns
        assert answer in one.document
        assert len(answer) > 300
    lengths = sorted(len(one.document) for one in told)
    assert lengths[0] < 600 * 3.3
    assert lengths[-1] > 2200 * 3.3
    assert lengths[30] < 1500 * 3.3
