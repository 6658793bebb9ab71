"""``mmspec index``, as people type it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from retrieval.shelves import said

from mmspec.__main__ import main
from mmspec.core.config import ModelConfig
from mmspec.model.load import load_processor
from mmspec.retrieval import readings
from mmspec.retrieval.manifest import read_manifest
from mmspec.retrieval.segment import PUBLIC, identity
from mmspec.retrieval.shelf import Shelf


@pytest.fixture(scope="module")
def processor():
    return load_processor(ModelConfig())


@pytest.fixture
def texts(tmp_path):
    """A folder with a text, a file of texts, a file that is no text, and a hidden one."""
    folder = tmp_path / "texts"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "a.txt").write_text("The quick brown fox.\n" * 20, encoding="utf-8")
    lines = [
        {"text": "Pack my box <|im_end|> with jugs.", "id": 1},
        {"text": ""},
        {"text": "Zwölf"},
    ]
    (folder / "b.jsonl").write_text("\n\n".join(map(json.dumps, lines)), encoding="utf-8")
    (folder / "c.bin").write_bytes(b"\0\1\2" * 9)
    (folder / ".hidden").write_text("secret")
    return folder


def shelf(folder, processor) -> Shelf:
    return Shelf(folder, identity(processor.pieces, processor.vocabulary), PUBLIC)


def test_from_texts_to_an_index_and_away_again(tmp_path, texts, processor, capsys):
    folder = tmp_path / "index"
    assert main(["index", "build", str(folder), str(texts)]) == 0
    told = capsys.readouterr()
    assert "3 texts" in told.out
    assert "c.bin" in told.err
    held = [processor.decode(np.array(ids)) for ids in said(shelf(folder, processor).mounted)]
    assert [one.strip() for one in held] == [
        "Pack my box <|im_end|> with jugs.",
        "Zwölf",
        ("The quick brown fox.\n" * 20).strip(),
    ]
    assert main(["index", "build", str(folder), str(texts / "b.jsonl")]) == 0
    assert main(["index", "info", str(folder), "--verify"]) == 0
    assert "2 segments" in capsys.readouterr().out
    first, _ = (entry.name for entry in read_manifest(folder).segments)
    assert main(["index", "drop", str(folder), first, "--text", "0", "2"]) == 0
    assert main(["index", "merge", str(folder)]) == 0
    assert "2 segments became 1" in capsys.readouterr().out
    assert len(said(shelf(folder, processor).mounted)) == 3
    (entry,) = read_manifest(folder).segments
    assert main(["index", "info", str(folder / entry.name)]) == 0
    assert "3 texts" in capsys.readouterr().out
    assert main(["index", "merge", str(folder)]) == 0
    assert "nothing to merge" in capsys.readouterr().out
    assert main(["index", "drop", str(folder), entry.name]) == 0
    assert read_manifest(folder).segments == ()


def test_texts_larger_than_a_segment_go_on_in_the_next(tmp_path, texts, processor):
    folder = tmp_path / "index"
    arguments = ["index", "build", str(folder), str(texts / "below"), "--segment-tokens", "40"]
    assert main(arguments) == 0
    segments = shelf(folder, processor).mounted
    assert len(segments) > 1
    assert max(map(len, segments)) <= 41
    pieces = [id for ids in said(segments) for id in ids]
    assert processor.decode(np.array(pieces)).strip() == ("The quick brown fox.\n" * 20).strip()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "{}/index", "{}/nothing"], "does not exist"),
        (["build", "{}/texts/c.bin", "{}/texts"], "File exists"),
        (["build", "{}/index", "{}/texts", "--model", "{}/texts"], "no model at"),
        (["info", "{}/nothing"], "not a folder"),
        (["info", "{}/texts/c.bin"], "not an index"),
        (["merge", "{}/texts"], "holds no index"),
        (["drop", "{}/texts", "x"], "holds no index"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, texts, capsys, arguments, said):
    assert main(["index", *(one.format(tmp_path) for one in arguments)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_line_that_is_no_text_names_itself(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n{"txt": 3}\n')
    with pytest.raises(Exception, match=r"a\.jsonl, line 2"):
        list(readings.read(path))


def test_a_damaged_segment_is_named_and_can_be_dropped(tmp_path, texts, capsys):
    folder = tmp_path / "index"
    main(["index", "build", str(folder), str(texts / "below")])
    (entry,) = read_manifest(folder).segments
    path = folder / entry.name
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:5000])
    assert main(["index", "info", str(folder)]) == 2
    assert "cut short" in capsys.readouterr().err
    assert main(["index", "build", str(folder), str(texts / "below")]) == 2
    assert main(["index", "drop", str(folder), entry.name]) == 0
    assert main(["index", "build", str(folder), str(texts / "below")]) == 0


def test_a_long_file_is_several_texts_cut_at_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(readings, "BLOCK", 100)
    path = tmp_path / "long.txt"
    lines = "".join(f"line number {place}\r\n" for place in range(60))
    path.write_bytes(lines.encode())
    parts = list(readings.read(path))
    assert "".join(part.text for part in parts) == lines
    assert all(part.text.endswith("\n") for part in parts)
    assert parts[-1].bytes == len(lines)
    assert max(len(part.text) for part in parts) < 130
