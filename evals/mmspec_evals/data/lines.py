"""JSON files of rows, read as benchmarks really write them."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

Row = dict[str, Any]
_BLANK = " \t\r\n"


def read(path: Path) -> list[Row]:
    """Rows of a ``.jsonl`` or ``.json`` file, either of them perhaps gzipped.

    A ``.json`` file holds a list of objects, an object with one such list in it, or, in spite of
    its name, lines.

    Raises:
        DataError: it cannot be read, or is none of these; says where.
    """
    data = _content(path)
    if path.suffixes[-1:] == [".json"] or path.suffixes[-2:] == [".json", ".gz"]:
        whole = _whole(data)
        if isinstance(whole, list) and all(isinstance(row, dict) for row in whole):
            return whole
        if isinstance(whole, dict) and (inner := _only_list(whole)) is not None:
            return inner
        if isinstance(whole, list):
            raise DataError(f"{path} is a list of something else than objects")
    return parse(data, str(path))


def parse(data: bytes, name: str) -> list[Row]:
    """Rows of JSON lines.

    Lines end at a line feed and nowhere else: texts hold U+2028 and its like, unescaped. A byte
    order mark and blank lines are passed over; a line may hold several objects.

    Args:
        name: what an error calls the file.

    Raises:
        DataError: a line is no UTF-8, no JSON, or no object; gives its number, from 1.
    """
    rows: list[Row] = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            found = _objects(raw.decode("utf-8"))
        except ValueError as error:
            raise DataError(f"{name}, line {number}: {error}") from error
        for row in found:
            if not isinstance(row, dict):
                raise DataError(f"{name}, line {number}: not an object: {str(row)[:60]!r}")
            rows.append(row)
    return rows


def _objects(line: str) -> list[Any]:
    """Every JSON value of one line."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(line):
        if line[at] in _BLANK:
            at += 1
            continue
        value, at = decoder.raw_decode(line, at)
        found.append(value)
    return found


def _content(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _whole(data: bytes) -> Any:
    """The file as one JSON value; None when it is not one."""
    try:
        return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return None


def _only_list(whole: Row) -> list[Row] | None:
    """The one value that is a list of objects, if there is exactly one."""
    lists = [
        value
        for value in whole.values()
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    ]
    return lists[0] if len(lists) == 1 else None
