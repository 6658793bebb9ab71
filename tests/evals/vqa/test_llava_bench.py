"""LLaVA-Bench from its own files and from the hub's copy."""

import pytest
from evals.vqa.files import lines, load, parquet, picture, png, task, text
from mmspec_evals.errors import DataError


def wild(folder):
    lines(folder / "questions.jsonl", [
        {"question_id": 0, "image": "001.jpg", "text": "What is this?", "category": "conv"},
        {"question_id": 1, "image": "001.jpg", "text": "Why?", "category": "complex"},
    ])  # fmt: skip
    lines(folder / "answers_gpt4.jsonl", [
        {"question_id": 1, "text": "Because of the wind.", "category": "complex"},
        {"question_id": 0, "text": "A red kite.", "category": "conv"},
    ])  # fmt: skip
    lines(folder / "context.jsonl", [{"id": 1, "image": "001.jpg", "caption": "A kite."}])
    picture(folder / "images" / "001.jpg")


def test_in_the_wild_is_paired_by_id_not_by_line(tmp_path):
    wild(tmp_path)
    corpus = load("llava_bench/wild", tmp_path)
    first, second = corpus.docs
    assert (first.id, text(first), first.target) == ("0", "What is this?", "A red kite.")
    assert (second.target, second.fields["category"]) == ("Because of the wind.", "complex")
    assert first.fields["context"] == "A kite."
    assert first.cluster == second.cluster == "001.jpg"
    assert first.turns[0][0].read() == png()  # the picture comes before the question
    assert "reference_overlap is not it" in corpus.note
    assert len(corpus.sha256) == 64
    marked = task("llava_in_the_wild")
    assert marked.score(("A red kite.",), first) == {"reference_overlap": 1.0}
    assert marked.score(("green",), first) == {"reference_overlap": 0.0}


def test_coco_with_captions_and_boxes(tmp_path):
    folder = tmp_path / "coco"
    lines(folder / "qa90_questions.jsonl", [
        {"question_id": 5, "image": "0042.jpg", "text": "What?", "category": "detail"}
    ])  # fmt: skip
    lines(folder / "qa90_gpt4_answer.jsonl", [{"question_id": 5, "text": "A cat."}])
    lines(folder / "caps_boxes_coco2014_val_80.jsonl", [
        {"id": 1, "image": "0042.jpg", "captions": ["a cat", "one cat"],
         "instances": [{"category": "cat", "bbox": [0.1, 0.2, 0.3, 0.4]}]}
    ])  # fmt: skip
    picture(folder / "val2014" / "COCO_val2014_0042.jpg")
    (doc,) = load("llava_bench/coco", tmp_path).docs
    assert doc.target == "A cat."
    assert doc.fields["context"] == "a cat\none cat\ncat: [0.1, 0.2, 0.3, 0.4]"
    assert doc.turns[0][0].read() == png()


def test_hub_layout(tmp_path):
    parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [
        {"question_id": 3, "question": "What?", "gpt_answer": "A cat.", "caption": ["x", "y"],
         "category": "conv", "image": {"bytes": png(), "path": None}, "image_id": "7"}
    ])  # fmt: skip
    (doc,) = load("llava_bench/wild", tmp_path).docs
    assert (doc.id, doc.target, doc.cluster) == ("3", "A cat.", "7")
    assert doc.fields["context"] == "x\ny"


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(DataError, match="--data llava_bench/wild=PATH"):
        load("llava_bench/wild", None)
    wild(tmp_path)
    (tmp_path / "answers_gpt4.jsonl").unlink()
    corpus = load("llava_bench/wild", tmp_path, limit=1)
    assert corpus.note.endswith("1 questions have no reference answer")
    assert task("llava_bench/wild").score(("x",), corpus.docs[0]) == {}
