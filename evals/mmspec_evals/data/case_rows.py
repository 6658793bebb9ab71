"""Free-standing rows in and out: a bad line is an answer of its own, never the end of the file."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from mmspec_evals.data import lines
from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

Row = dict[str, Any]


def answered(path: Path, answer: Callable[[Row], Row]) -> Iterator[Row]:
    """Every row with what ``answer`` adds to it; of a line that is none, its number and the error.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            rows = lines.parse(line, "")
        except DataError as error:
            yield {"line": number, "error": str(error).partition(": ")[2]}
            continue
        for row in rows:
            yield row | answer(row)


def write(rows: Iterable[Row], out: Path | None) -> tuple[int, int]:
    """JSON lines, pure ASCII, to a file or to standard output; numbers of rows and of errors.

    Raises:
        DataError: the file cannot be written.
    """
    count = errors = 0
    try:
        sink = sys.stdout if out is None else out.open("w", encoding="ascii")
        try:
            for row in rows:
                sink.write(json.dumps(row) + "\n")
                count, errors = count + 1, errors + (row.get("error") is not None)
        finally:
            if out is not None:
                sink.close()
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error}") from error
    return count, errors
