"""The tasks as a run sees them: files of every shape in, documents and scores out."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmspec_evals.doc import Text
from mmspec_evals.errors import DataError
from mmspec_evals.metrics.infinitebench_names import SPELLINGS
from mmspec_evals.registry import all_tasks, find
from mmspec_evals.task import Want

ROWS = {
    "passkey": ({"context": "It is 12345.", "input": "Which?", "answer": ["12345"]}, "12345"),
    "number_string": ({"content": "It is 1.", "input": "Which?", "answer": "1"}, "1"),
    "kv_retrieval": ({"context": "{}", "input": "k", "answer": ["v-1"]}, "v-1"),
    "longbook_sum_eng": ({"context": "b", "input": "", "answer": ["a cat"]}, "a cat"),
    "longbook_qa_eng": ({"context": "b", "input": "Who?", "answer": "Ann"}, "the Ann"),
    "longbook_qa_chn": ({"context": "b", "input": "谁", "answer": ["张三"]}, "张三。"),
    "longbook_choice_eng": (
        {"context": "b", "input": "Who?", "answer": ["Bob"], "options": ["Al", "Bob", "Cy", "Di"]},
        "B",
    ),
    "longdialogue_qa_eng": ({"context": "b", "input": "", "answer": ["BOB"]}, "Bob"),
    "math_find": ({"context": "[1, 2]", "input": "The median number of", "answer": ["1.5"]}, "1.5"),
    "math_calc": ({"context": "1 + 2 - 1", "input": "", "answer": ["3", "2"]}, "3, 2"),
    "code_run": ({"context": "def", "input": "func_1(2)", "answer": ["-4"]}, "-4"),
    "code_debug": (
        {"context": "c", "input": "", "answer": "run", "options": ["x", "y", "run", "z"]},
        "C.",
    ),
}


def want(data=None, prompts=None, limit=None, tokens=(), seed=0):
    return Want(
        data=data, limit=limit, seed=seed, tokens=tokens, count=lambda text: len(text.split()),
        prompts=prompts,
    )  # fmt: skip


def task(name):
    return all_tasks()[name]


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path):
    for name, (row, _) in ROWS.items():
        write(tmp_path / f"{name}.jsonl", [row])
    return tmp_path


def prompt(doc):
    return "".join(part.text for part in doc.turns[0])


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("style", ["chat", "completion"])
def test_a_row_becomes_a_prompt_whose_right_answer_scores_one(folder, name, style):
    row, right = ROWS[name]
    prompts = None if style == "chat" else Path("completion")
    corpus = task(f"infinitebench/{name}").load(want(folder, prompts))
    assert (corpus.kind, corpus.prompts, corpus.rows, corpus.note) == ("official", "own", 1, "")
    assert len(corpus.sha256) == 64
    (doc,) = corpus.docs
    assert doc.fields["style"] == style
    context = row.get("context", row.get("content"))
    assert [part.text for part in doc.turns[0] if part.trim] == [context]
    assert all(text in prompt(doc) for text in (row["input"], *row.get("options", ())) if text) or (
        name == "longdialogue_qa_eng"
    )
    assert "{" not in prompt(doc).replace(context, "")
    scores = task(f"infinitebench/{name}").score((right,), doc)
    assert set(scores.values()) == {1.0}
    assert list(scores) == [metric.name for metric in task(f"infinitebench/{name}").metrics]
    assert set(task(f"infinitebench/{name}").score(("",), doc).values()) == {0.0}


def test_labels_are_what_the_scorer_wants(folder):
    labels = {
        name: task(f"infinitebench/{name}").load(want(folder)).docs[0].target for name in ROWS
    }
    assert labels["kv_retrieval"] == "v-1"
    assert labels["math_find"] == [1.5]
    assert labels["math_calc"] == [3, 2]
    assert labels["code_run"] == [-4]
    assert labels["longbook_choice_eng"] == ["Bob", "B"]
    assert labels["code_debug"] == ["run", "C"]


def test_rows_from_parquet_shards_under_another_spelling(tmp_path):
    for shard in range(2):
        rows = [{"id": shard, "context": f"b{shard}", "input": "Who?", "answer": ["7"],
                 "options": []}]  # fmt: skip
        path = tmp_path / f"longbook_qa_en-0000{shard}-of-00002.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    corpus = find(["En.QA"])[0].load(want(tmp_path))
    assert [doc.id for doc in corpus.docs] == ["0", "1"]
    assert corpus.docs[0].target == ["7"]


def test_rows_on_one_book_are_one_cluster_and_the_limit_is_of_documents(tmp_path):
    rows = [{"id": 5, "context": book, "input": "q", "answer": "a"} for book in "xxy"]
    write(tmp_path / "longbook_qa_eng.jsonl", rows)
    corpus = task("infinitebench/longbook_qa_eng").load(want(tmp_path))
    first, second, third = corpus.docs
    assert first.cluster == second.cluster != third.cluster
    assert [doc.id for doc in corpus.docs] == ["0", "1", "2"]  # their own ids are not unique
    limited = task("infinitebench/longbook_qa_eng").load(want(tmp_path, limit=2))
    assert (len(limited.docs), limited.rows) == (2, 3)


def test_official_templates_are_said(folder):
    source = 'yarn_mistral_templates = {"passkey": "T: {context} {input}"}'
    (folder / "prompt.py").write_text(source)
    corpus = task("infinitebench/passkey").load(want(folder, prompts=folder))
    assert corpus.prompts == "official"
    assert "yarn-mistral" in corpus.note
    assert corpus.docs[0].fields["style"] == "completion"
    assert prompt(corpus.docs[0]) == "T: It is 12345. Which?"


def test_a_missing_file_says_where_to_get_it(tmp_path):
    load = task("infinitebench/passkey").load
    with pytest.raises(DataError, match=r"--data infinitebench=FOLDER.*infinitebench_synth"):
        load(want())
    with pytest.raises(DataError, match=r"passkey\.jsonl.*xinrongzhang2022/InfiniteBench"):
        load(want(tmp_path))
    other = write(tmp_path / "kv_retrieval.jsonl", [ROWS["kv_retrieval"][0]])
    with pytest.raises(DataError, match="another task"):
        load(want(other))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("passkey", {"context": None}, "texts"),
        ("passkey", {"answer": []}, "empty"),
        ("code_run", {"answer": ["four"]}, "four"),
        ("code_debug", {"answer": "nowhere"}, "nowhere"),
        ("code_debug", {"options": ["run"]}, "four options"),
    ],
)
def test_a_bad_row_is_named(tmp_path, name, change, words):
    good = ROWS[name][0]
    write(tmp_path / f"{name}.jsonl", [good, good | change])
    with pytest.raises(DataError, match=f"row 2 of {name}.*{words}"):
        task(f"infinitebench/{name}").load(want(tmp_path))


def test_a_row_without_an_answer_is_named(tmp_path):
    write(tmp_path / "passkey.jsonl", [{"context": "c", "input": "i"}])
    with pytest.raises(DataError, match="row 1 of passkey: no 'answer'"):
        task("infinitebench/passkey").load(want(tmp_path))


def first(label):
    return label[0] if isinstance(label, list) else label


def test_made_documents_are_named_as_such():
    made = find(["infinitebench_synth"])
    assert len(made) == 6
    for one in made:
        corpus = one.load(want(tokens=(300, 600), limit=5))
        assert (corpus.kind, corpus.path, len(corpus.docs)) == ("synthetic", None, 5)
        assert [doc.fields["tokens"] for doc in corpus.docs] == [300, 600, 300, 600, 300]
        assert "no InfiniteBench score" in corpus.note
        assert corpus == one.load(want(tokens=(300, 600), limit=5))
        assert corpus.sha256 != one.load(want(tokens=(300, 600), limit=5, seed=1)).sha256
        for doc in corpus.docs:
            right = str(doc.target) if "math_calc" in one.name else str(first(doc.target))
            assert set(one.score((right,), doc).values()) == {1.0}


def test_twenty_documents_of_1024_tokens_are_made_when_nothing_is_said():
    corpus = task("infinitebench_synth/passkey").load(want())
    assert len(corpus.docs) == 20
    sizes = [len(prompt(doc).split()) for doc in corpus.docs]
    assert all(abs(size - 1024) <= 21 for size in sizes)


def test_a_made_sum_has_room_for_its_answer():
    corpus = task("infinitebench_synth/math_calc").load(want(tokens=(300,), limit=1))
    (doc,) = corpus.docs
    assert doc.fields["max_new_tokens"] == len(doc.target) + 16


def test_the_bundled_models_read_a_text_and_a_bare_question():
    corpus = task("infinitebench_synth/passkey").load(want(limit=1))
    text, question = corpus.docs[0].turns[0]
    assert isinstance(text, Text)
    assert question.text == "\n\nWhat is the pass key?"
