"""Rows from every shape of file a benchmark comes in."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmspec_evals.data.lines import parse
from mmspec_evals.data.rows import read_rows
from mmspec_evals.errors import DataError

ROWS = [{"id": 1, "text": "eins"}, {"id": 2, "text": "zwei"}]


def jsonl(rows=ROWS):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def parquet(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def stream(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    with path.open("wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def saved(folder, shards):
    """What ``save_to_disk`` leaves behind."""
    names = [f"data-{n:05d}-of-{len(shards):05d}.arrow" for n in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        stream(folder / name, rows)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "test"}
    (folder / "state.json").write_text(json.dumps(state))


# Lines ----------------------------------------------------------------------------------------


def test_only_a_line_feed_ends_a_line():
    text = "a\u2028b\x0bc\x85d\x1ce"
    data = f'{{"text": "{text[:3]}"}}\r\n\n  \n{{"text": "e\u2029f"}}'.encode()
    assert parse(data, "x") == [{"text": "a\u2028b"}, {"text": "e\u2029f"}]


def test_byte_order_mark_and_two_objects_on_a_line():
    data = b'\xef\xbb\xbf{"a": 1}{"a": 2}\n{"a": 3} {"a": 4}\n'
    assert [row["a"] for row in parse(data, "x")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b'{"a": 1', "line 2"),
        (b'{"a": 1} trailing', "line 2"),
        (b"[1, 2]", "not an object"),
        (b'{"a": "\xff"}', "line 2"),
        (b'{"a": 1},', "line 2"),
    ],
)
def test_a_bad_line_is_named(bad, words):
    with pytest.raises(DataError, match=words) as caught:
        parse(b'{"a": 0}\n' + bad + b"\n", "rows.jsonl")
    assert "rows.jsonl, line 2" in str(caught.value)


# JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS).encode(),
        b"\xef\xbb\xbf" + json.dumps(ROWS).encode(),
        json.dumps({"info": {"year": 2015}, "questions": ROWS}, indent=2).encode(),
        jsonl(),
    ],
)
def test_json_as_list_as_object_and_as_lines(tmp_path, content):
    assert read_rows(write(tmp_path / "q.json", content), []).rows == ROWS


def test_one_object_is_one_row(tmp_path):
    """Two lists leave no doubt which is meant only when there is one."""
    row = {"a": [{"x": 1}], "b": [{"x": 2}]}
    assert read_rows(write(tmp_path / "q.json", json.dumps(row).encode()), []).rows == [row]


def test_a_list_of_numbers_is_refused(tmp_path):
    with pytest.raises(DataError, match="list of something else"):
        read_rows(write(tmp_path / "q.json", b"[1, 2]"), [])


def test_gzipped_lines(tmp_path):
    path = write(tmp_path / "q.jsonl.gz", gzip.compress(jsonl()))
    found = read_rows(tmp_path, ["q"])
    assert found.rows == ROWS
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    write(tmp_path / "bad.jsonl.gz", gzip.compress(jsonl())[:-12])
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(tmp_path, ["bad"])


# Folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["qa.jsonl", "data/qa.jsonl", "qa/test.jsonl", "data/qa/qa.jsonl"]
)
def test_lines_in_a_folder(tmp_path, place):
    path = write(tmp_path / place, jsonl())
    found = read_rows(tmp_path, ["other", "qa"])
    assert found.rows == ROWS
    assert found.path == str(path)
    assert found.sha256 == hashlib.sha256(jsonl()).hexdigest()


def test_names_come_in_order_of_preference(tmp_path):
    write(tmp_path / "second.jsonl", jsonl([{"id": 2}]))
    write(tmp_path / "first" / "test.jsonl", jsonl([{"id": 1}]))
    assert read_rows(tmp_path, ["first", "second"]).rows == [{"id": 1}]
    assert read_rows(tmp_path, ["second", "first"]).rows == [{"id": 2}]


def test_longer_names_are_not_taken_for_shards(tmp_path):
    parquet(tmp_path / "qa-hard.parquet")
    parquet(tmp_path / "qa_e-00000-of-00001.parquet")
    with pytest.raises(DataError):
        read_rows(tmp_path, ["qa"])


@pytest.mark.parametrize(
    "place", ["qa.parquet", "data/qa-00000-of-00001.parquet", "qa/test-00000-of-00001.parquet"]
)
def test_parquet(tmp_path, place):
    parquet(tmp_path / place)
    assert read_rows(tmp_path, ["qa"]).rows == ROWS


@pytest.mark.parametrize("folder", [".", "data", "qa"])
def test_shards_in_order_of_name(tmp_path, folder):
    second = parquet(tmp_path / folder / "qa-00001-of-00002.parquet", [{"id": 2}])
    first = parquet(tmp_path / folder / "qa-00000-of-00002.parquet", [{"id": 1}])
    found = read_rows(tmp_path, ["qa"])
    assert found.rows == [{"id": 1}, {"id": 2}]
    both = first.read_bytes() + second.read_bytes()
    assert found.sha256 == hashlib.sha256(both).hexdigest()
    assert found.path == str(first.parent)


@pytest.mark.parametrize("inner", ["", "qa", "qa/test", "data/qa/train"])
def test_folder_saved_to_disk(tmp_path, inner):
    saved(tmp_path / inner, [[{"id": 1}], [{"id": 2}, {"id": 3}]])
    assert [row["id"] for row in read_rows(tmp_path, ["qa"]).rows] == [1, 2, 3]


def test_folder_saved_in_another_order_is_refused(tmp_path):
    saved(tmp_path, [ROWS])
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(
        json.dumps(state | {"_indices_files": [{"filename": "i"}]})
    )
    with pytest.raises(DataError, match="flatten_indices"):
        read_rows(tmp_path, ["qa"])


def test_test_split_is_preferred(tmp_path):
    saved(tmp_path / "qa" / "train", [[{"id": 0}]])
    saved(tmp_path / "qa" / "test", [[{"id": 1}]])
    assert read_rows(tmp_path, ["qa"]).rows == [{"id": 1}]


def test_the_folder_itself_may_have_the_name(tmp_path):
    write(tmp_path / "qa" / "whatever.jsonl", jsonl())
    assert read_rows(tmp_path / "qa", ["qa"]).rows == ROWS
    with pytest.raises(DataError):
        read_rows(tmp_path / "qa", ["other"])


def test_arrow_file_format(tmp_path):
    table = pa.Table.from_pylist(ROWS)
    with (tmp_path / "qa.arrow").open("wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table)
    assert read_rows(tmp_path, ["qa"]).rows == ROWS


def test_pictures_pass_through(tmp_path):
    rows = [{"image": {"bytes": b"\x89PNG", "path": None}, "answers": ["a", "b"]}]
    parquet(tmp_path / "qa.parquet", rows)
    assert read_rows(tmp_path, ["qa"]).rows == rows


# What goes wrong ------------------------------------------------------------------------------


def test_missing_says_what_and_where(tmp_path):
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path, ["qa_eng", "qa_en"])
    for words in (str(tmp_path), "qa_eng.jsonl", "qa_en.jsonl", "parquet"):
        assert words in str(caught.value)
    with pytest.raises(DataError, match="does not exist"):
        read_rows(tmp_path / "nowhere", ["qa"])


def test_damaged_table(tmp_path):
    write(tmp_path / "qa.parquet", b"PAR1 not really")
    write(tmp_path / "qb.arrow", b"nothing of the kind")
    for name in ("qa", "qb"):
        with pytest.raises(DataError, match=f"{name}.* cannot be read"):
            read_rows(tmp_path, [name])


def test_pyarrow_is_asked_for_only_when_needed(tmp_path, monkeypatch):
    write(tmp_path / "lines.jsonl", jsonl())
    parquet(tmp_path / "table.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert read_rows(tmp_path, ["lines"]).rows == ROWS
    with pytest.raises(DataError, match=r"mmspec\[evals\]"):
        read_rows(tmp_path, ["table"])
