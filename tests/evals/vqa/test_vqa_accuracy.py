"""VQA accuracy by hand: each official rule that surprises is a case."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmspec_evals.metrics.textnorm_vqa import evalai, official_punctuation, plain_words
from mmspec_evals.metrics.vqa_accuracy import (
    textvqa_lmms_eval,
    textvqa_m4c,
    vqa_accuracy_official,
    vqav2_lmms_eval,
)

RULES = (vqa_accuracy_official, vqav2_lmms_eval, textvqa_m4c, textvqa_lmms_eval)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("agreeing", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0)]
)
def test_leaving_one_out_is_not_min_k_thirds(rule, agreeing, score):
    answers = ["red"] * agreeing + [f"other{i}" for i in range(10 - agreeing)]
    assert rule("red", answers) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "answers", "official", "lmms", "textvqa"),
    [
        # All ten say the same: officially nothing is rewritten, not even the prediction.
        ("Yes", ["yes"] * 10, 0.0, 1.0, 1.0),
        ("yes", ["yes"] * 10, 1.0, 1.0, 1.0),
        # lmms-eval's vqav2 still rewrites the prediction, but then not the answers.
        ("Yes", ["Yes"] * 10, 1.0, 0.0, 1.0),
        ("Yes\t", ["Yes\n"] * 10, 1.0, 0.0, 1.0),
        # As soon as one differs, everything is.
        ("Yes", ["yes"] * 9 + ["no"], 1.0, 1.0, 1.0),
        ("a dog.", ["Dog"] * 9 + ["cat"], 1.0, 1.0, 1.0),
        ("2", ["two"] * 9 + ["three"], 1.0, 1.0, 1.0),
        ("0", ["none"] * 9 + ["one"], 1.0, 1.0, 1.0),
        # vqav2 reads "'s" in the prediction as a word of its own, and never so in the answers.
        ("it's", ["it's"] * 9 + ["its"], 1.0, 0.0, 1.0),
    ],
)
def test_who_rewrites_what(prediction, answers, official, lmms, textvqa):
    assert vqa_accuracy_official(prediction, answers) == official
    assert vqav2_lmms_eval(prediction, answers) == lmms
    assert textvqa_m4c(prediction, answers) == textvqa
    assert textvqa_lmms_eval(prediction, answers) == textvqa


def test_rows_without_ids_leave_out_their_equals():
    with_ids = [{"answer": "red", "answer_id": i} for i in range(10)]
    without = [{"answer": "red"} for _ in range(10)]
    halves = [{"answer": "red", "answer_confidence": c} for c in ["yes", "maybe"] * 5]
    for rule in (vqa_accuracy_official, vqav2_lmms_eval):
        assert rule("red", with_ids) == 1.0
        assert rule("red", without) == 0.0
        assert rule("red", halves) == 1.0
    assert with_ids[0] == {"answer": "red", "answer_id": 0}  # the caller's rows stay as they were


def test_no_answers_known():
    assert vqav2_lmms_eval("red", None) == textvqa_lmms_eval("red", None) == 0.0
    for rule in (vqa_accuracy_official, vqav2_lmms_eval, textvqa_lmms_eval):
        with pytest.raises(ZeroDivisionError):
            rule("red", [])
    with pytest.raises(ValueError, match="10 answers, got 9"):
        textvqa_m4c("red", ["red"] * 9)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("none", "0"),
        ("a/b", "b"),  # the slash leaves an article
        ("it's", "it 's"),
        ("U.S.A.", "usa"),
        ("$5", "$5"),
        ("3.5", "3.5"),
        ("5.", "5"),
        ("1,000", "1000"),
        ("T-shirt", "t shirt"),
        ("dont", "don't"),
        ("Im here", "im here"),  # its key has a capital letter: never found
        ("somebody'd", "somebodyd"),
        ("The the A an", ""),
        ("ten men", "10 men"),
        ("what? yes!", "what yes"),
    ],
)
def test_evalai(text, told):
    assert evalai(text) == told


def test_punctuation_is_judged_on_the_text_as_it_came():
    assert official_punctuation("a-b") == "a b"
    assert official_punctuation("a-b - c") == "ab  c"  # one mark apart drops all of its kind
    assert official_punctuation("1,000 a/b (c)") == "1000 ab c"  # a number: no mark leaves a space
    assert evalai("1,,000 a/b") == "1000 b"
    assert official_punctuation("." * 40) == "." * 8  # the flag 32 counts


def test_words():
    assert plain_words("Three of THE oclock couldntve couldn'tve") == (
        "3 of o'clock couldntve couldn't've"
    )


@given(
    st.lists(
        st.sampled_from(["red", "Red", "a red", "blue", "2", "two"]), min_size=10, max_size=10
    ),
    st.sampled_from(["red", "RED", "two", "blue."]),
)
@settings(max_examples=200, deadline=None)
def test_accuracy_is_one_of_five_values_whatever_the_order(answers, prediction):
    for rule in RULES:
        score = rule(prediction, answers)
        assert any(abs(score - value) < 1e-12 for value in (0.0, 0.3, 0.6, 0.9, 1.0))
        assert rule(prediction, answers[::-1]) == pytest.approx(score, abs=1e-12)
