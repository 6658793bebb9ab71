"""What ids spell, whatever else a tokenizer file says."""

from __future__ import annotations

import json

from mmspec.model.spelling import spelling


def digest(folder, told) -> str | None:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(told))
    return spelling(str(folder))


def file(vocabulary, added=(), **rest):
    model = {"type": "BPE", "vocab": vocabulary, **rest}
    return {"model": model, "added_tokens": [{"id": i, "content": c} for i, c in added]}


def test_the_same_words_under_the_same_ids_are_the_same(tmp_path):
    one = digest(tmp_path, file({"a": 0, "b": 1, "ab": 2}, [(3, "<end>")], merges=["a b"]))
    assert one is not None
    for same in (
        file({"ab": 2, "b": 1, "a": 0}, [(3, "<end>")], merges=[["a", "b"]]),
        file({"a": 0, "b": 1, "ab": 2, "<end>": 3}),
        file([["a", -1.0], ["b", -2.0], ["ab", -0.5]], [(3, "<end>")], type="Unigram"),
    ):
        assert digest(tmp_path, same) == one
    for other in (
        file({"a": 1, "b": 0, "ab": 2}, [(3, "<end>")]),
        file({"a": 0, "b": 1, "ab": 2}, [(3, "<stop>")]),
        file({"a": 0, "b": 1, "ab": 2}, [(4, "<end>")]),
        file({"a": 0, "b": 1, "ab": 2}),
    ):
        assert digest(tmp_path, other) != one


def test_what_is_not_known_is_none(tmp_path):
    assert spelling("") is None
    assert spelling(str(tmp_path)) is None
    assert digest(tmp_path, ["no tokenizer"]) is None
    assert digest(tmp_path, {"model": {}}) is None
    (tmp_path / "tokenizer.json").write_text("{")
    assert spelling(str(tmp_path)) is None
