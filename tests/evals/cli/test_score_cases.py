"""The outside doors: free-standing rows in, the same rows with scores out."""

from __future__ import annotations

import json

import pytest
from mmspec_evals.cli import main
from mmspec_evals.metrics.truncate import kept

GOOD = {"task": "En.QA", "prediction": "the cat\u2028", "ground_truth": ["cat"], "kept": [1]}
RAISES = {"task": "math_find", "prediction": "88.0", "ground_truth": [88]}


def write(path, *lines):
    path.write_bytes(b"\n".join(lines))
    return str(path)


def line(row):
    return json.dumps(row, ensure_ascii=False).encode()


def answers(text):
    return [json.loads(one) for one in text.split("\n") if one]


def test_rows_come_back_with_their_scores(tmp_path, capsys):
    path = write(tmp_path / "a.jsonl", line(GOOD), b"", line(RAISES) + line(GOOD))
    assert main(["score-cases", "--suite", "infinitebench", path]) == 0
    out, err = capsys.readouterr()
    first, second, third = answers(out)
    assert first == third == GOOD | {"score": 1.0}
    assert second == RAISES | {"score": 0.0, "error": second["error"]}
    assert "ValueError" in second["error"]
    assert err == "3 rows, 1 of them without a score of their own\n"


def test_a_bad_line_is_reported_and_the_rest_goes_on(tmp_path):
    path = write(tmp_path / "a.jsonl", b"{broken", b"[1]", b"\xff", line(GOOD))
    out = tmp_path / "b.jsonl"
    assert main(["score-cases", "--suite", "infinitebench", path, "--out", str(out)]) == 0
    *bad, good = answers(out.read_text("ascii"))
    assert [row["line"] for row in bad] == [1, 2, 3]
    assert all(row["score"] == 0 and row["error"] for row in bad)
    assert good["score"] == 1


def test_lone_surrogates_and_nan_go_through(tmp_path, capsys):
    raw = b'{"task": "passkey", "prediction": "\\ud800 71432", "ground_truth": "71432", "x": NaN}'
    assert main(["score-cases", "--suite", "infinitebench", write(tmp_path / "a.jsonl", raw)]) == 0
    (row,) = answers(capsys.readouterr().out)
    assert (row["score"], row["prediction"]) == (1.0, "\ud800 71432")


@pytest.mark.parametrize(
    ("suite", "row"),
    [
        ("vqa", {"metric": "gqa_llava", "prediction": "Red.", "ground_truth": "red"}),
        ("longbench", {"dataset": "qasper", "prediction": "red", "answers": ["red"]}),
    ],
)
def test_the_other_suites_answer(tmp_path, capsys, suite, row):
    path = write(tmp_path / "a.jsonl", line(row))
    assert main(["score-cases", "--suite", suite, path]) == 0
    assert answers(capsys.readouterr().out) == [row | {"score": 1.0}]


def test_a_missing_file_is_wrong_usage(tmp_path, capsys):
    missing = str(tmp_path / "none.jsonl")
    assert main(["score-cases", "--suite", "infinitebench", missing]) == 2
    assert "none.jsonl cannot be read" in capsys.readouterr().err
    path = write(tmp_path / "a.jsonl", line(GOOD))
    nowhere = str(tmp_path / "no" / "folder")
    assert main(["score-cases", "--suite", "infinitebench", path, "--out", nowhere]) == 2


def test_truncations_come_back_with_the_places_kept(tmp_path, capsys):
    sizes = {"length": 10, "max_length": 5}
    rows = [
        sizes, sizes | {"mode": "gpt4"}, sizes | {"mode": "odd"}, {"length": 10},
        {"length": -1, "max_length": 5}, {"length": True, "max_length": 5},
    ]  # fmt: skip
    path = write(tmp_path / "a.jsonl", *map(line, rows))
    assert main(["truncate-cases", path]) == 0
    both, gpt4, *bad = answers(capsys.readouterr().out)
    assert both == sizes | {"kept_local": kept(10, 5), "kept_gpt4": kept(10, 5, "gpt4")}
    assert gpt4 == rows[1] | {"kept": [0, 1, 7, 8, 9]}
    assert all("error" in row and "kept" not in row for row in bad)
