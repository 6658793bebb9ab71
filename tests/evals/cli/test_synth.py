"""Made files: in InfiniteBench's shape, read by the same loader, and never taken for it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from mmspec_evals.cli import main
from mmspec_evals.errors import DataError
from mmspec_evals.registry import all_tasks
from mmspec_evals.task import Want
from transformers import AutoTokenizer

NANO = Path(__file__).parents[3] / "mmspec" / "zoo" / "nano"


def synth(folder, *more):
    flags = ["--tokens", "300,1k", "--depths", "3", "--per-depth", "2", "--seed", "7"]
    return main(["synth", "infinitebench", "--out", str(folder), *flags, *more])


def want(path):
    return Want(data=path, limit=None, seed=0, tokens=(), count=lambda text: len(text.split()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "IB"
    assert synth(path) == 0
    return path


def test_files_and_the_note_beside_them(folder):
    note = json.loads((folder / "SYNTHETIC.json").read_text())
    assert (note["seed"], note["tokens"], note["tokenizer"]) == (7, [300, 1024], "nano")
    assert len(note["sha256"]) == 6
    for name, seal in note["sha256"].items():
        data = (folder / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == seal
        rows = [json.loads(line) for line in data.decode().split("\n") if line]
        assert len(rows) == 12
        assert rows[0].keys() >= {"id", "context", "input", "answer", "options"}


def test_prompts_have_their_tokens_by_the_model_own_count(folder):
    tokenizer = AutoTokenizer.from_pretrained(NANO)
    corpus = all_tasks()["infinitebench_synth/passkey"].load(want(folder))
    for doc in corpus.docs:
        text = "".join(part.text for part in doc.turns[0])
        tokens = doc.fields["tokens"]
        assert abs(len(tokenizer(text)["input_ids"]) - tokens) <= 0.02 * tokens


def test_both_names_read_them_and_neither_calls_them_official(folder):
    for name in ("infinitebench_synth/code_run", "infinitebench/code_run"):
        corpus = all_tasks()[name].load(want(folder))
        assert (corpus.kind, corpus.rows) == ("synthetic", 12)
        assert "no InfiniteBench score" in corpus.note


def test_a_file_that_lost_its_note_still_says_so(folder, tmp_path):
    alone = tmp_path / "passkey.jsonl"
    alone.write_bytes((folder / "passkey.jsonl").read_bytes())
    assert all_tasks()["infinitebench/passkey"].load(want(alone)).kind == "synthetic"


def test_official_files_are_not_read_under_the_made_name(tmp_path):
    row = {"context": "c", "input": "i", "answer": ["1"]}
    (tmp_path / "passkey.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match="not of our making"):
        all_tasks()["infinitebench_synth/passkey"].load(want(tmp_path))


def test_the_same_seed_writes_the_same_bytes_and_may_write_again(folder, tmp_path):
    for _ in range(2):
        assert synth(tmp_path / "IB", "--tasks", "passkey", "--tokenizer", str(NANO)) == 0
    assert (tmp_path / "IB" / "passkey.jsonl").read_bytes() == (
        folder / "passkey.jsonl"
    ).read_bytes()


def test_wrong_usage(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("x")
    assert synth(tmp_path) == 2
    assert "holds other files" in capsys.readouterr().err
    assert synth(tmp_path / "new", "--tasks", "longbook_qa_eng") == 2
    assert "can make: passkey" in capsys.readouterr().err
    assert synth(tmp_path / "new", "--depths", "0") == 2
    assert synth(tmp_path / "new", "--tokenizer", str(tmp_path)) == 2
    assert not (tmp_path / "new").exists()
