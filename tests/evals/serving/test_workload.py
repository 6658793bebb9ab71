"""What is asked: repeatable, different by seed, never the same twice; and users' files."""

from __future__ import annotations

import base64
import io
import json

import pytest
from mmspec_evals.errors import DataError, PlanError
from mmspec_evals.serving.workload import read_jobs, workload
from PIL import Image


@pytest.mark.parametrize("name", ["text", "image", "document"])
def test_our_own(name):
    jobs = workload(name, 6, seed=1, output_len=40)
    assert jobs == workload(name, 6, seed=1, output_len=40)
    assert {job.max_tokens for job in jobs} == {40}
    assert workload(name, 3, seed=1, skip=3, output_len=40) == jobs[3:]
    assert workload(name, 6, seed=2, output_len=40) != jobs
    if name != "text":  # small talk has only so many questions
        assert len({json.dumps(job.messages) for job in jobs}) == 6


def test_pictures_can_be_read():
    (job,) = workload("image", 1)
    picture, text = job.messages[0]["content"]
    data = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(data)).format == "PNG"
    assert text["type"] == "text"
    assert job.prompt is None


@pytest.mark.parametrize("name", ["text", "document"])
def test_input_len(name):
    for tokens in (200, 2000):
        lengths = [len(job.prompt) for job in workload(name, 8, input_len=tokens)]
        # Three to four characters a token; a document ends with a section.
        assert 1.5 * tokens < sum(lengths) / 8 < 5 * tokens


def test_a_file_in_either_shape(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    rows = [
        {"prompt": "line\u2028separator", "output_tokens": 5},
        {"prompt": "look", "image_files": ["a.png", "data:image/png;base64,AA=="]},
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
        {"prompt": "none", "unknown": 1},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
    jobs = read_jobs(path, output_len=33)
    assert [job.max_tokens for job in jobs] == [5, 33, 9, 33]
    assert jobs[0].prompt == "line\u2028separator"
    first, second, text = jobs[1].messages[0]["content"]
    assert first["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert second["image_url"]["url"] == "data:image/png;base64,AA=="
    assert text["text"] == "look"
    assert jobs[2].prompt is None
    more = workload(f"custom:{path}", 6, skip=1, output_len=33)
    assert more == [*jobs[1:], *jobs[:3]][:6]  # a short file begins again


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"prompt": 5}', "{}", '{"prompt": "a", "messages": []}',
             '{"prompt": "a", "image_files": ["nowhere.png"]}', ""],
)  # fmt: skip
def test_broken_files(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(DataError):
        read_jobs(path)


def test_refusals(tmp_path):
    for name in ("nothing", "text:x", ""):
        with pytest.raises(PlanError):
            workload(name, 1)
    with pytest.raises(PlanError):
        workload("text", 0)
    with pytest.raises(DataError, match="no file at"):
        workload(f"custom:{tmp_path / 'missing.jsonl'}", 1)
