"""LongBench v2's letters, and free-standing rows."""

from __future__ import annotations

import pytest
from mmspec_evals.errors import DataError
from mmspec_evals.metrics.longbench_cases import score_case
from mmspec_evals.metrics.longbench_v2 import letter


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("The correct answer is (B)", "B"),
        ("The correct answer is B", "B"),
        ("**The correct answer is (C)**.", "C"),
        ("The correct answer is **(D)**", "D"),
        ("  \nThe correct answer is (A) because", "A"),
        ("The correct answer is A. No: The correct answer is (B)", "B"),  # brackets win
        ("The correct answer is (A). The correct answer is (B)", "A"),
        ("The correct answer is Because", "B"),
        ("the correct answer is (B)", None),
        ("The correct answer is (E)", None),
        ("The correct answer is: (B)", None),
        ("The correct answer is  (B)", None),
        ("The correct answer is (b)", None),
        ("(B)", None),
        ("", None),
        ("The correct answer\nis (B)", None),
    ],
)
def test_letters(said, found):
    assert letter(said) == found


@pytest.mark.parametrize(
    ("row", "score"),
    [
        ({"dataset": "hotpotqa", "prediction": "red cat", "answers": ["dog", "cat"]}, 2 / 3),
        ({"dataset": "hotpotqa", "prediction": "cat", "ground_truth": "the cat"}, 1),
        ({"dataset": "hotpotqa_e", "prediction": "cat", "ground_truth": ["x", "cat"]}, 1),
        ({"task": "longbench/triviaqa", "prediction": "cat\ndog", "answers": ["cat"]}, 1),
        (
            {"dataset": "trec", "prediction": "a", "answers": ["a"], "all_classes": ["a", "b"]},
            1,
        ),
        ({"dataset": "passage_count", "prediction": "5 of 6", "ground_truth": 5}, 0.5),
        ({"dataset": "passage_retrieval_zh", "prediction": "段落3", "answers": ["段落3"]}, 1),
        ({"dataset": "lcc", "prediction": "x", "ground_truth": "x"}, 1),
        ({"metric": "qa_f1_score", "prediction": "cat\ndog", "ground_truth": "cat"}, 2 / 3),
        ({"metric": "code_sim_score", "prediction": "x", "ground_truth": "x"}, 1),
        ({"dataset": "hotpotqa", "prediction": "cat", "answers": []}, 0),
        (
            {"dataset": "longbench_v2", "prediction": "The correct answer is B", "answer": "B"},
            1,
        ),
        ({"dataset": "longbench_v2", "prediction": "B", "ground_truth": "B"}, 0),
        ({"dataset": "repobench-p", "prediction": "", "answers": ["x"]}, 0),
    ],
)
def test_rows(row, score):
    found = score_case(row)
    assert found.error is None
    assert found.score == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"dataset": "trec", "prediction": "a", "answers": ["a"]}, "TypeError"),
        ({"dataset": "hotpotqa", "prediction": None, "answers": ["a"]}, "AttributeError"),
        ({"dataset": "hotpotqa", "prediction": "a", "answers": [3]}, "AttributeError"),
        ({"dataset": "passage_retrieval_en", "prediction": "3", "answers": ["3"]}, "IndexError"),
        ({"dataset": "passage_count", "prediction": 3, "answers": ["3"]}, "TypeError"),
    ],
)
def test_rows_on_which_the_original_fails(row, error):
    found = score_case(row)
    assert found.score == 0
    assert found.error is not None
    assert found.error.startswith(error)


@pytest.mark.parametrize(
    "row",
    [
        {"dataset": "nowhere", "prediction": "a", "answers": ["a"]},
        {"prediction": "a", "answers": ["a"]},
        {"dataset": "hotpotqa", "answers": ["a"]},
        {"dataset": "hotpotqa", "prediction": "a"},
    ],
)
def test_rows_that_cannot_be_meant(row):
    with pytest.raises(DataError):
        score_case(row)
