"""What is asked: our own texts, pictures and documents on held-out seeds, or a user's JSONL."""

from __future__ import annotations

import base64
import io
import mimetypes
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mmspec.train.data import chat, documents, picture_language, pictures, source
from mmspec.train.data.seeds import example_seed
from mmspec_evals.errors import DataError, PlanError
from mmspec_evals.serving.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIRST = 20_000_000  # held-out examples from here on: nothing else looks at them
STRIDE = 1_000_000  # between two seeds of a user
DOCUMENT_TOKENS = 1000
OUTPUT_TOKENS = 128


def workload(
    name: str,
    count: int,
    *,
    seed: int = 0,
    skip: int = 0,
    input_len: int | None = None,
    output_len: int | None = None,
) -> list[Job]:
    """``count`` jobs of a workload.

    Args:
        name: ``text``, ``image``, ``document``, or ``custom:FILE``.
        seed: chooses among our own examples; two seeds share none.
        skip: jobs of the same seed that were asked before, so that none comes twice.
        input_len: about how many tokens a text or document has.
        output_len: most new tokens; a row of a file may say otherwise.

    Raises:
        PlanError: no such workload, or no job at all. DataError: the file is not what it should be.
    """
    if count < 1:
        raise PlanError("a benchmark needs at least one prompt")
    kind, _, path = name.partition(":")
    if kind == "custom":
        return list(islice(cycle(read_jobs(Path(path), output_len)), skip, skip + count))
    if path or kind not in _KINDS:
        known = ", ".join(_KINDS)
        raise PlanError(f"no workload {name!r}; there are {known} and custom:FILE")
    first = FIRST + STRIDE * seed + skip
    seeds = [example_seed("held_out", first + index) for index in range(count)]
    limit = OUTPUT_TOKENS if output_len is None else output_len
    return [_KINDS[kind](one, input_len, limit) for one in seeds]


def read_jobs(path: Path, output_len: int | None = None) -> list[Job]:
    """Rows in vLLM's shapes: ``{"prompt", "output_tokens"?, "image_files"?}``.

    ``{"messages", "max_tokens"?}`` does too. Picture paths are relative to the file.

    Raises:
        DataError: the file is missing, empty, or a line is not such a row.
    """
    if not path.is_file():
        raise DataError(f"no file at {path}; a workload is written custom:FILE.jsonl")
    jobs: list[Job] = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            jobs.append(_row(msgspec.json.decode(line, type=_Row), path.parent, output_len))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    if not jobs:
        raise DataError(f"{path} has no rows")
    return jobs


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    output_tokens: int | None = None
    max_tokens: int | None = None
    image_files: list[str] = []


def _row(row: _Row, folder: Path, output_len: int | None) -> Job:
    if (row.prompt is None) == (row.messages is None):
        raise msgspec.ValidationError("a row has either a prompt or messages")
    given = [row.output_tokens, row.max_tokens, output_len, OUTPUT_TOKENS]
    limit = next(value for value in given if value is not None)
    if row.messages is not None:
        return Job(row.messages, None, limit)
    images = [_image_url(name, folder) for name in row.image_files]
    return _job(row.prompt or "", limit, images)


def _image_url(name: str, folder: Path) -> str:
    if name.startswith(("data:", "http://", "https://")):
        return name
    path = folder / name.removeprefix("file://")
    if not path.is_file():
        raise DataError(f"no picture at {path}")
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    return f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode()


def _job(text: str, limit: int, images: Sequence[str] = ()) -> Job:
    if not images:
        return Job([{"role": "user", "content": text}], text, limit)
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": url}} for url in images
    ]
    content = [*parts, {"type": "text", "text": text}]
    return Job([{"role": "user", "content": content}], None, limit)


def _text(seed: int, input_len: int | None, limit: int) -> Job:
    """Small talk, or as much source code as was asked for."""
    if input_len is not None:
        return _job(f"What does this code do?\n\n{source.excerpt(seed, input_len)}", limit)
    _, pairs = chat.talk(seed, 0)
    return _job(pairs[0].question, limit)


def _image(seed: int, _input_len: int | None, limit: int) -> Job:
    image, _ = pictures.scene(seed)
    sink = io.BytesIO()
    image.save(sink, "PNG")
    url = "data:image/png;base64," + base64.b64encode(sink.getvalue()).decode()
    return _job(picture_language.DESCRIBE[0], limit, [url])


def _document(seed: int, input_len: int | None, limit: int) -> Job:
    """A question on a document; answers quote it."""
    made, pairs = documents.document(seed, input_len or DOCUMENT_TOKENS)
    return _job(f"{made.text}\n\n{pairs[0].question}", limit)


_KINDS: dict[str, Callable[[int, int | None, int], Job]] = {
    "text": _text,
    "image": _image,
    "document": _document,
}
