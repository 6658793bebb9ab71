"""ChartQA, DocVQA, GQA, yes/no and letters, by hand."""

import pytest
from mmspec_evals.metrics import hallusion, yes_no
from mmspec_evals.metrics.anls import anls
from mmspec_evals.metrics.choice import (
    scienceqa_llava,
    scienceqa_lmms_eval,
    seedbench_llava,
    seedbench_lmms_eval,
)
from mmspec_evals.metrics.exact import exact_match_ignore_case_punct, gqa_llava
from mmspec_evals.metrics.llava_review import llava_bench_parse_score, llava_bench_summary
from mmspec_evals.metrics.relaxed import chartqa_relaxed


@pytest.mark.parametrize(
    ("prediction", "target", "score"),
    [
        ("105", "100", 1),
        ("105.1", "100", 0),
        ("95", "100", 1),
        ("2100", "2018", 1),  # years are numbers
        ("0.0", "0", 0),  # zero is compared as a text
        ("0", "0", 1),
        ("1,234", "1234", 0),
        ("1,234", "1,234", 1),
        ("5%", "0.05", 1),
        ("5", "5%", 0),
        ("5%%", "5%", 1),
        ("14.", "14", 1),
        ("14. ", "14%", 0),
        ("Yes.", "Yes", 0),  # texts: letters only in any case
        ("YES", "yes", 1),
        ("nan", "nan", 0),
        ("inf", "inf", 0),
        ("-100", "100", 0),
        ("", "", 1),
        ("1_000", "1000", 1),
    ],
)
def test_chartqa(prediction, target, score):
    assert chartqa_relaxed(prediction, target) == score


@pytest.mark.parametrize(
    ("prediction", "references", "score"),
    [
        ("Hello", ["hello"], 1.0),
        ("hallo", ["hello"], 0.8),
        ("  hello   world ", ["hello world"], 1.0),  # ends and runs of spaces do not count ...
        ("hallo    ", ["hello"], 1 - 1 / 9),  # ... as edits, but they do as length
        ("abcd", ["abxy"], 0.5),  # the threshold itself counts
        ("abc", ["axy"], 0.0),  # a third is below it
        ("two", ["one", "too"], 2 / 3),
        ("", [""], 1.0),
        ("", ["a"], 0.0),
        ("strasse", ["straße"], 1 - 2 / 7),  # the sharp s is two letters in upper case
    ],
)
def test_anls(prediction, references, score):
    assert anls(prediction, references) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("Yes.", "yes", 1),
        ("T-shirt", "tshirt", 1),
        ("a b", "ab", 0),
        ("yes ", "yes", 0),
        ("«yes»", "yes", 0),  # ASCII punctuation only
        ("", "...", 1),
        ("the dog", "dog", 0),
    ],
)
def test_exact_match(prediction, reference, score):
    assert exact_match_ignore_case_punct(prediction, reference) == score


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [("Left..", "left", 1), ("left", "Left", 0), ("left. ", "left", 0), ("left!", "left", 0)],
)
def test_gqa(prediction, reference, score):
    assert gqa_llava(prediction, reference) == score


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Yes", "yes"),
        (" NO. ", "no"),
        ("y", "yes"),
        ("N", "no"),
        ("Not sure", "no"),
        ("eyes", "yes"),
        ("It is: yes", "other"),  # only the first four characters
        ("y.e.s", "yes"),
        ("ok", "other"),
        ("", "other"),
        ("maybe", "other"),
        ("a no", "no"),
    ],
)
def test_mme_reading(text, read):
    assert yes_no.mme_parse(text) == read


def test_mme_score_and_sum():
    assert yes_no.mme_yes_no("Yes, it is", "Yes") == 1.0
    assert yes_no.mme_yes_no("", "No.") == 0.0
    with pytest.raises(ValueError, match="yes or no"):
        yes_no.mme_yes_no("yes", "maybe")
    rows = [
        {"category": category, "question_id": picture, "score": score}
        for category, picture, score in [
            ("count", "1.png", 1.0), ("count", "2.png", 1.0), ("count", "1.png", 1.0),
            ("count", "2.png", 0.0), ("code_reasoning", "1.png", 0.0),
            ("code_reasoning", "1.png", 0.0),
        ]
    ]  # fmt: skip
    # count: picture 1 is 100 + 100, picture 2 is 50 + 0, mean 125; code_reasoning is 0.
    assert yes_no.mme_aggregate(rows) == 125.0
    answered = [
        {"category": "count", "question_id": "1.png", "prediction": said, "answer": true}
        for said, true in [("Yes", "yes"), ("n", "No")]
    ]
    assert yes_no.mme_aggregate(answered) == 200.0
    with pytest.raises(ValueError, match="two questions"):
        yes_no.mme_aggregate(rows[:3])
    assert yes_no.mme_aggregate([]) == 0.0


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("No", "no"),
        ("no, there is", "no"),
        ("There is not. Yes", "no"),
        ("Yes. No", "yes"),  # the first sentence decides
        ("NO", "yes"),
        ("nope", "yes"),
        ("None", "yes"),
        ("Cannot tell", "yes"),
        ("", "yes"),
        ("Well,no", "yes"),  # the comma vanishes: one word
        ("no\nway", "yes"),  # single spaces only
        ("I see no dog", "no"),
    ],
)
def test_pope_reading_of_llava(text, read):
    assert yes_no.pope_llava_parse(text) == read


def test_pope_scores():
    assert yes_no.pope_lmms_eval(" YES\n", "yes") == 1.0
    assert yes_no.pope_lmms_eval("Yes.", "yes") == 0.0
    with pytest.raises(ValueError, match="yes or no"):
        yes_no.pope_lmms_eval("yes", "")
    assert yes_no.pope_llava("Nope", "no") == 0.0
    assert yes_no.pope_llava("whatever", "No") == 1.0  # any label but "no" is positive


def test_pope_aggregates():
    rows = [
        {"prediction": said, "answer": true}
        for said, true in [("yes", "yes"), ("Yes", "no"), ("no", "no"), ("no", "yes"), ("?", "yes")]
    ]
    lmms = yes_no.pope_lmms_eval_aggregate(rows)
    assert lmms == {
        "accuracy": 0.4, "precision": 0.5, "recall": 0.5, "f1": 0.5, "yes_ratio": 0.6,
    }  # fmt: skip
    llava = yes_no.pope_llava_aggregate(rows)
    # "?" is yes here: 2 hits, 1 false alarm, 1 miss, 1 right no.
    assert llava == pytest.approx(
        {"accuracy": 0.6, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "yes_ratio": 0.6}
    )
    with pytest.raises(ZeroDivisionError):
        yes_no.pope_llava_aggregate([{"prediction": "no", "answer": "no"}])


@pytest.mark.parametrize(
    ("prediction", "llava", "lmms"),
    [
        ("B", 1, 1),
        ("B.", 0, 1),
        ("B. a cat", 1, 1),
        ("B.a cat", 0, 1),
        ("b", 0, 0),
        (" B", 0, 0),
        ("A. The answer is B.", 0, 0),
        ("The answer is B.", 1, 0),
        ("The answer is B", 0, 0),  # one more character has to follow
        ("The answer is B\n", 0, 0),  # but not a line's end
        ("The answer is Blue", 1, 0),
        ("The answer is B. The answer is B.", 0, 0),
        ("the answer is B.", 0, 0),
        ("", 0, 0),
        ("AB", 0, 0),
    ],
)
def test_scienceqa(prediction, llava, lmms):
    for answer in (1, "B"):
        assert scienceqa_llava(prediction, answer, ["x", "y", "z"]) == llava
        assert scienceqa_lmms_eval(prediction, answer, ["x", "y", "z"]) == lmms


def test_scienceqa_answers_that_are_no_choice():
    assert scienceqa_llava("E", 4, ["x", "y"]) == 0.0  # E is a letter, but not of a choice
    with pytest.raises(IndexError):
        scienceqa_llava("A", 5)
    with pytest.raises(IndexError):
        scienceqa_lmms_eval("A", 2, ["x", "y"])


@pytest.mark.parametrize(
    ("prediction", "lmms", "llava"),
    [("B", 1, 1), ("B.", 1, 0), (" Because", 1, 0), ("b", 0, 0), ("", 0, 0), ("(B)", 0, 0)],
)
def test_seedbench(prediction, lmms, llava):
    assert seedbench_lmms_eval(prediction, "B") == lmms
    assert seedbench_llava(prediction, "B") == llava


@pytest.mark.parametrize(
    ("review", "scores"),
    [
        ("8 7\nBecause ...", (8, 7)),
        ("8,7", (8, 7)),
        ("8.5 9", (8.5, 9)),
        ("8, 7", (-1, -1)),
        ("8 7 ", (-1, -1)),
        ("8 7\r\nwhy", (8, 7)),  # float() strips the carriage return
        ("8\t7", (-1, -1)),
        ("Assistant 1: 8", (-1, -1)),
        ("eight 7", (-1, -1)),
        ("\n8 7", (-1, -1)),
        ("", (-1, -1)),
    ],
)
def test_review_scores(review, scores):
    assert llava_bench_parse_score(review) == scores


def test_review_summary():
    assert llava_bench_summary([(8.0, 6.0), (10.0, 9.0)]) == pytest.approx(100 * 7.5 / 9)


def test_hallusionbench():
    place = {"category": "VD", "subcategory": "chart", "set_id": "0"}
    rows = [
        place
        | {"question_id": question, "figure_id": figure, "gt_answer": true, "prediction": said}
        for question, figure, true, said in [
            ("0", "0", "1", "Yes."), ("0", "1", "0", "No."), ("1", "0", "0", "nothing yesterday"),
            ("1", "1", "0", "never"),
        ]
    ]  # fmt: skip
    # "yesterday" says yes: question 1 fails for figure 0, so figure 0 fails too.
    assert hallusion.hallusionbench(rows) == {"aAcc": 0.75, "qAcc": 0.5, "fAcc": 0.5}
