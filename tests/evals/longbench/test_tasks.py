"""Documents of LongBench from files like the real ones."""

from __future__ import annotations

import json

import pytest
from evals.text_sets.wanting import want, write_lines
from mmspec_evals import registry
from mmspec_evals.doc import Text
from mmspec_evals.errors import DataError
from mmspec_evals.tasks import longbench, longbench_prompts, longbench_v2


def row(number, **changes):
    return {
        "_id": f"id{number}",
        "input": f"What is {number}?",
        "context": "A long {story}.",
        "answers": [str(number), "none"],
        "length": 100 * number,
        "dataset": "hotpotqa",
        "language": "en",
        "all_classes": None,
    } | changes


def checkout(folder, template):
    config = folder / "LongBench" / "config"
    config.mkdir(parents=True)
    (config / "dataset2prompt.json").write_text(json.dumps({"hotpotqa": template}))
    (config / "dataset2maxlen.json").write_text(json.dumps({"hotpotqa": 48}))
    return folder


def test_documents(tmp_path):
    path = write_lines(tmp_path / "data" / "hotpotqa.jsonl", [row(1), row(2), row(3)])
    [task] = registry.find(["longbench/hotpotqa"])
    corpus = task.load(want(tmp_path, limit=2))
    assert [doc.id for doc in corpus.docs] == ["id1", "id2"]
    assert (corpus.rows, corpus.kind, corpus.prompts) == (3, "official", "own")
    assert corpus.path == str(path)
    first, second = corpus.docs
    assert first.cluster == second.cluster  # one context
    assert first.target == ["1", "none"]
    [before, context, after] = first.turns[0]
    assert context == Text("A long {story}.", trim=True)
    assert not before.trim
    assert after.text.endswith("Question: What is 1?\nAnswer:")
    assert task.score(("It is 1",), first) == {"qa_f1": pytest.approx(0.5)}


def test_templates_of_the_users_checkout(tmp_path):
    write_lines(tmp_path / "hotpotqa.jsonl", [row(1)])
    prompts = checkout(tmp_path / "repo", "Read {{it}}: {context} Q: {input} A:")
    corpus = longbench.load(want(tmp_path, prompts=prompts), "hotpotqa", even=False)
    assert corpus.prompts == "official"
    [doc] = corpus.docs
    assert doc.turns[0] == (
        Text("Read {it}: "),
        Text("A long {story}.", trim=True),
        Text(" Q: What is 1? A:"),
    )
    assert doc.fields["max_new_tokens"] == 48
    write_lines(tmp_path / "qasper.jsonl", [row(1)])
    with pytest.raises(DataError, match="none for qasper"):
        longbench.load(want(tmp_path, prompts=prompts), "qasper", even=False)
    with pytest.raises(DataError, match="no checkout"):
        longbench.load(want(tmp_path, prompts=tmp_path), "hotpotqa", even=False)


def test_even_lengths_are_told_by_group(tmp_path):
    write_lines(tmp_path / "hotpotqa_e.jsonl", [row(39), row(40), row(80)])
    [task] = registry.find(["longbench_e/hotpotqa"])
    docs = task.load(want(tmp_path)).docs
    marks = [task.score((doc.target[0],), doc) for doc in docs]
    assert [set(mark) - {"qa_f1"} for mark in marks] == [
        {"qa_f1_0-4k"},
        {"qa_f1_4-8k"},
        {"qa_f1_8k+"},
    ]
    assert {name for mark in marks for name in mark} == {metric.name for metric in task.metrics}


@pytest.mark.parametrize("dataset", sorted(longbench_prompts.OWN))
def test_every_template_shows_everything_and_fills(dataset):
    filled = longbench_prompts.fill(longbench_prompts.OWN[dataset], row(7))
    whole = "".join(part.text for part in filled)
    assert [part.text for part in filled if part.trim] == ["A long {story}."]
    asks = dataset not in {"gov_report", "multi_news", "vcsum", "passage_count", "lcc"}
    assert ("What is 7?" in whole) == asks


def test_bare_text_where_the_original_has_no_chat_template():
    bare = {task.name for task in longbench.TASKS if task.style == "completion"}
    six = {"trec", "triviaqa", "samsum", "lsht", "lcc", "repobench-p"}
    assert {name.partition("/")[2] for name in bare} == six
    assert len(registry.find(["longbench"])) == 21
    assert len(registry.find(["longbench_e"])) == 13


def test_rows_on_which_the_original_fails_score_nothing(tmp_path):
    write_lines(tmp_path / "trec.jsonl", [row(1)])
    [task] = registry.find(["longbench/trec"])
    [doc] = task.load(want(tmp_path)).docs
    assert task.score(("1",), doc) == {"classification": 0.0}


def test_missing_files_and_fields_are_told(tmp_path):
    [task] = registry.find(["longbench/hotpotqa"])
    with pytest.raises(DataError, match="--data longbench=PATH"):
        task.load(want())
    with pytest.raises(DataError, match=r"hotpotqa\.jsonl"):
        task.load(want(tmp_path))
    write_lines(tmp_path / "hotpotqa.jsonl", [{"input": "x"}])
    with pytest.raises(DataError, match="no 'context'"):
        task.load(want(tmp_path))
    write_lines(tmp_path / "hotpotqa.jsonl", [row(1, context=["a"])])
    with pytest.raises(DataError, match="is to be a text"):
        task.load(want(tmp_path))


def test_chinese_sets_need_their_segmenter_at_once(tmp_path, monkeypatch):
    def missing(text):
        raise DataError("no jieba")

    write_lines(tmp_path / "dureader.jsonl", [row(1)])
    monkeypatch.setattr("mmspec_evals.metrics.zh.words", missing)
    [task] = registry.find(["longbench/dureader"])
    with pytest.raises(DataError, match="jieba"):
        task.load(want(tmp_path))


# Version 2 ------------------------------------------------------------------------------------


def question(number, **changes):
    choices = {f"choice_{letter}": f" {letter.lower()} " for letter in "ABCD"}
    return {
        "_id": f"q{number}",
        "domain": "d",
        "sub_domain": "s",
        "difficulty": "easy",
        "length": "short",
        "question": " Which? $C_A$ ",
        "context": "Text with $Q$ in it. ",
        "answer": "B",
        **choices,
    } | changes


def test_version_two(tmp_path):
    (tmp_path / "data.json").write_text(json.dumps([question(1), question(2, length="long")]))
    [task] = registry.find(["longbench_v2"])
    corpus = task.load(want(tmp_path))
    first, second = corpus.docs
    assert first.cluster == second.cluster
    [_, context, after] = first.turns[0]
    assert context == Text("Text with $Q$ in it.", trim=True)
    assert "(A) a\n(B) b\n(C) c\n(D) d" in after.text
    right, wrong = "The correct answer is (B).", "The correct answer is (A)."
    assert task.score((right,), first) == {
        "accuracy": 1,
        "easy": 1,
        "accuracy_official": 1,
        "short": 1,
    }
    assert task.score((wrong,), second)["long"] == 0
    assert task.score(("",), first) == {"accuracy": 0, "easy": 0, "short": 0}
    assert task.score((" ",), first)["accuracy_official"] == 0


def test_version_two_groups(tmp_path):
    (tmp_path / "data.json").write_text(json.dumps([question(1, difficulty="?", length="huge")]))
    [doc] = longbench_v2.load(want(tmp_path)).docs
    assert set(longbench_v2.score(("",), doc)) == {"accuracy", "hard"}


def test_version_two_with_the_official_template(tmp_path):
    (tmp_path / "data.json").write_text(json.dumps([question(1)]))
    prompts = tmp_path / "repo" / "prompts"
    prompts.mkdir(parents=True)
    (prompts / "0shot.txt").write_text("<t>$DOC$</t> $Q$ $C_A$|$C_B$|$C_C$|$C_D$")
    corpus = longbench_v2.load(want(tmp_path, prompts=tmp_path / "repo"))
    texts = [part.text for part in corpus.docs[0].turns[0]]
    assert texts == ["<t>", "Text with $Q$ in it.", "</t> Which? a a|b|c|d"]
    assert corpus.prompts == "official"
