"""Free-standing rows: every metric by its name, and rows that break a scorer."""

import pytest
from mmspec_evals.errors import DataError
from mmspec_evals.metrics.vqa_cases import METRICS, score_case

ISSUE = {
    "vqa_accuracy_official", "vqav2_lmms_eval", "textvqa_m4c", "textvqa_lmms_eval", "anls",
    "chartqa_relaxed", "exact_match_ignore_case_punct", "gqa_llava", "mme_yes_no", "mme_aggregate",
    "pope_lmms_eval", "pope_llava", "scienceqa_llava", "scienceqa_lmms_eval",
    "seedbench_lmms_eval", "seedbench_llava", "llava_bench_parse_score",
}  # fmt: skip
TEN = ["red"] * 3 + ["blue"] * 7


def test_all_metrics_are_known():
    assert set(METRICS) >= ISSUE


@pytest.mark.parametrize(
    ("row", "score"),
    [
        ({"metric": "vqa_accuracy_official", "prediction": "red", "answers": TEN}, 0.9),
        (
            {
                "metric": "vqav2_lmms_eval",
                "prediction": "red",
                "answers": [{"answer": a, "answer_id": i} for i, a in enumerate(TEN)],
            },
            0.9,
        ),
        (
            {
                "metric": "textvqa_m4c",
                "prediction": "red",
                "ground_truth": [{"answer": a} for a in TEN],
            },
            0.9,
        ),
        ({"metric": "textvqa_lmms_eval", "prediction": "red", "answers": TEN[:2]}, 1 / 3),
        ({"metric": "anls", "prediction": "hallo", "ground_truth": "hello"}, 0.8),
        ({"metric": "anls", "prediction": "hallo", "answers": ["x", "hello"]}, 0.8),
        ({"metric": "chartqa_relaxed", "prediction": "105", "ground_truth": "100"}, 1.0),
        ({"metric": "chartqa_relaxed", "prediction": "105", "answers": ["100"]}, 1.0),
        ({"metric": "exact_match_ignore_case_punct", "prediction": "A.", "answer": "a"}, 1.0),
        ({"metric": "gqa_llava", "prediction": "A.", "ground_truth": "a"}, 1.0),
        ({"metric": "mme_yes_no", "prediction": "eyes", "ground_truth": "Yes"}, 1.0),
        ({"metric": "pope_lmms_eval", "prediction": "yes", "label": "yes"}, 1.0),
        ({"metric": "pope_llava", "text": "nope", "label": "yes"}, 1.0),
        (
            {
                "metric": "scienceqa_llava",
                "prediction": "B",
                "ground_truth": 1,
                "choices": ["x", "y"],
            },
            1.0,
        ),
        (
            {
                "metric": "scienceqa_lmms_eval",
                "prediction": "B.",
                "ground_truth": "B",
                "options": ["x", "y"],
            },
            1.0,
        ),
        ({"metric": "seedbench_lmms_eval", "prediction": "Because", "ground_truth": "B"}, 1.0),
        ({"metric": "seedbench_llava", "prediction": "B", "ground_truth": "B"}, 1.0),
        ({"metric": "llava_bench_parse_score", "prediction": "8 7\nwell"}, [8.0, 7.0]),
        ({"metric": "llava_bench_parse_score", "review": "8, 7"}, [-1.0, -1.0]),
        ({"metric": "llava_bench_parse_score", "prediction": None}, [-1.0, -1.0]),
    ],
)
def test_one_row(row, score):
    scored = score_case(row)
    assert scored.error is None
    assert scored.score == pytest.approx(score, abs=1e-12)


def test_many_predictions_in_either_form():
    rows = [
        {"category": "count", "question_id": "1", "prediction": "yes", "answer": "Yes"},
        {"category": "count", "question_id": "1", "prediction": "yes", "answer": "No"},
    ]
    assert score_case({"metric": "mme_aggregate", "rows": rows}).score == 50.0
    columns = {
        "metric": "mme_aggregate",
        "predictions": ["yes", "yes"],
        "ground_truth": ["Yes", "No"],
        "categories": ["count", "count"],
        "question_ids": ["1", "1"],
    }
    assert score_case(columns).score == 50.0
    pope = {"metric": "pope_llava", "prediction": ["no", "yes"], "ground_truth": ["no", "yes"]}
    assert score_case(pope).score == {
        "accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0, "yes_ratio": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        {"metric": "textvqa_m4c", "prediction": "red", "answers": ["red"]},
        {"metric": "vqa_accuracy_official", "prediction": "red", "answers": []},
        {"metric": "chartqa_relaxed", "prediction": "14", "ground_truth": 14},
        {"metric": "mme_yes_no", "prediction": "yes", "ground_truth": "perhaps"},
        {"metric": "mme_aggregate", "rows": [{"category": "a", "question_id": 1, "score": 1.0}]},
        {"metric": "scienceqa_llava", "prediction": "A", "ground_truth": 7},
        {"metric": "gqa_llava", "prediction": "A"},
        {"metric": "anls", "prediction": "A", "answers": []},
    ],
)
def test_where_the_official_scorer_raises_the_score_is_0_and_says_why(row):
    scored = score_case(row)
    assert scored.score == 0.0
    assert scored.error


def test_an_unknown_metric_is_the_callers_mistake():
    with pytest.raises(DataError, match="no VQA metric"):
        score_case({"metric": "bleu", "prediction": "a"})
