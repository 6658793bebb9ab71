"""Files to be indexed: found, read as text, and cut where one text ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from mmspec.core.errors import CorpusError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 4 << 20  # characters of a text; a longer file is several texts, cut at ends of lines
LOOK = 8192  # bytes in which a file that is no text shows a zero


class Reading(NamedTuple):
    """A text, and how many bytes of its file are behind it."""

    text: str
    bytes: int


class _Line(msgspec.Struct):
    text: str


def find(paths: list[Path]) -> list[Path]:
    """All files under some paths, in the order of their names; hidden ones left out.

    Raises:
        CorpusError: a path does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise CorpusError(f"{path} does not exist")
        if path.is_file():
            found.append(path)
            continue
        below = sorted(path.rglob("*"))
        found += [
            one
            for one in below
            if one.is_file()
            and not any(part.startswith(".") for part in one.relative_to(path).parts)
        ]
    return found


def is_text(path: Path) -> bool:
    """Whether a file looks like text: its first bytes hold no zero."""
    with path.open("rb") as file:
        return b"\0" not in file.read(LOOK)


def read(path: Path) -> Iterator[Reading]:
    """The texts of a file. In one that ends in ``.jsonl``, every line's ``text`` is one.

    Raises:
        CorpusError: it cannot be read, or a line is no object with a text.
    """
    try:
        yield from _lines(path) if path.suffix == ".jsonl" else _blocks(path)
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error


def _lines(path: Path) -> Iterator[Reading]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                said = msgspec.json.decode(line, type=_Line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise CorpusError(f"{path}, line {number}: {error}") from error
            yield Reading(said.text, file.tell())


def _blocks(path: Path) -> Iterator[Reading]:
    with path.open("r", encoding="utf-8", errors="replace", newline="") as file:
        behind = 0
        while text := file.read(BLOCK) + file.readline(BLOCK):
            behind += len(text.encode("utf-8", "replace"))
            yield Reading(text, behind)
