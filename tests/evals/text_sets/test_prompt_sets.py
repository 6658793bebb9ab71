"""Spec-Bench, MT-Bench, SPEED-Bench and the packaged mini set."""

from __future__ import annotations

from collections import Counter

import pytest
from evals.text_sets.wanting import want, write_lines
from mmspec_evals import registry
from mmspec_evals.data.turns import turns
from mmspec_evals.doc import Text
from mmspec_evals.errors import DataError
from mmspec_evals.tasks.spec_bench import CONVERSATION, KINDS


def rows():
    """Two of every category, as the real file has them: sorted."""
    found = []
    for category in (*sorted(CONVERSATION), *KINDS[1:]):
        for part in ("one", "two"):
            said = [f"{category} {part}", "and then?"] if category in CONVERSATION else [category]
            found.append({"question_id": len(found) + 81, "category": category, "turns": said})
    return found


def test_kinds_and_all(tmp_path):
    path = write_lines(tmp_path / "question.jsonl", rows())
    tasks = registry.find(["spec_bench"])
    assert [task.name for task in tasks] == [f"spec_bench/{kind}" for kind in KINDS]
    sizes = [len(task.load(want(path)).docs) for task in tasks]
    assert sizes == [16, 2, 2, 2, 2, 2]
    [everything] = registry.find(["spec_bench_all"])
    corpus = everything.load(want(tmp_path))
    assert (len(corpus.docs), corpus.rows, corpus.kind) == (26, 26, "official")
    first = corpus.docs[0]
    assert first.id == "81"
    assert first.turns == ((Text("coding one"),), (Text("and then?"),))
    assert everything.score(("a", "b"), first) == {}
    assert everything.metrics == ()


def test_a_limit_shows_every_category(tmp_path):
    path = write_lines(tmp_path / "question.jsonl", rows())
    [everything] = registry.find(["spec_bench_all"])
    docs = everything.load(want(path, limit=15)).docs
    counts = Counter(doc.fields["category"] for doc in docs)
    assert len(counts) == 13
    assert sorted(counts.values()) == [1] * 11 + [2] * 2
    assert [int(doc.id) for doc in docs] == sorted(int(doc.id) for doc in docs)


def test_a_file_without_a_kind_says_so(tmp_path):
    path = write_lines(tmp_path / "q.jsonl", [{"category": "qa", "turns": ["x"]}])
    [task] = registry.find(["spec_bench/rag"])
    with pytest.raises(DataError, match="no rows of the kind rag"):
        task.load(want(path))


def test_speed_bench(tmp_path):
    row = {"question_id": "h1", "category": "high_entropy", "turns": ["Write a poem."]}
    [task] = registry.find(["speed_bench"])
    [doc] = task.load(want(write_lines(tmp_path / "q.jsonl", [row]))).docs
    assert doc.id == "h1"
    assert task.data == "speed_bench"
    with pytest.raises(DataError, match="--data speed_bench=PATH"):
        task.load(want())


def test_mt_bench_keeps_two_turns(tmp_path):
    published = {"prompt_id": 7, "category": "math", "prompt": ["Add.", "Again."], "reference": []}
    [task] = registry.find(["mt_bench"])
    [doc] = task.load(want(write_lines(tmp_path / "question.jsonl", [published]))).docs
    assert [turn[0].text for turn in doc.turns] == ["Add.", "Again."]
    assert doc.id == "7"


def test_mini_set_needs_no_file():
    [task] = registry.find(["spec_bench_mini"])
    assert task.data is None
    corpus = task.load(want())
    kinds = Counter(
        "mt_bench" if doc.fields["category"] in CONVERSATION else doc.fields["category"]
        for doc in corpus.docs
    )
    assert kinds == dict.fromkeys(KINDS, 4)
    assert corpus.kind == "mini"
    assert {len(doc.turns) for doc in corpus.docs} == {1, 2}
    few = task.load(want(limit=9))
    assert len(few.docs) == 9
    assert few.sha256 == corpus.sha256


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"turns": ["a", "b"]}, ["a", "b"]),
        ({"prompt": "a"}, ["a"]),
        ({"prompt": ["a", "b"]}, ["a", "b"]),
        (
            {"turns": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "x"}]},
            ["a"],
        ),
        ({"turns": [{"content": "a"}]}, ["a"]),
    ],
)
def test_turns(row, said):
    assert turns(row, "f") == said


@pytest.mark.parametrize(
    "row",
    [{}, {"turns": []}, {"turns": [3]}, {"prompt": 3}, {"turns": [{"role": "assistant"}]}],
)
def test_rows_without_turns(row):
    with pytest.raises(DataError, match="f: "):
        turns(row, "f")


def test_ids_that_repeat_are_told_apart(tmp_path):
    path = write_lines(tmp_path / "q.jsonl", [{"id": 1, "turns": ["a"]}, {"id": 1, "turns": ["b"]}])
    [task] = registry.find(["speed_bench"])
    assert [doc.id for doc in task.load(want(path)).docs] == ["1", "1.1"]
