"""Rows of a benchmark from whatever the user has: JSON lines, JSON, parquet, Arrow folders."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmspec_evals.data import columns, lines
from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_TEXT = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
_TABLES = (".parquet", ".arrow")
_SPLITS = ("test", "validation", "val", "dev", "train")
_SHARD = re.compile(r"-\d{5}(-of-\d{5})?(-[0-9a-f]+)?")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with where they came from.

    Attributes:
        rows: in file order, shards in the order of their names.
        path: the file, or the folder of several. sha256: over the bytes of all files, as they are.
    """

    rows: list[dict[str, Any]]
    path: str
    sha256: str


def read_rows(path: Path, names: Sequence[str]) -> Table:
    """Rows of a file, or of the first of ``names`` that a folder holds.

    Within a folder (or its ``data`` folder), a name is found as ``NAME.jsonl``, ``NAME.json``,
    either gzipped, ``NAME.parquet``, ``NAME.arrow``, shards such as
    ``NAME-00000-of-00002.parquet``, or as a folder ``NAME`` that ``save_to_disk`` made or that
    holds one of these by the name of a split. The folder given may itself be that last one.

    Args:
        names: stems, the preferred one first.

    Raises:
        DataError: nothing is there (says what was looked for), or it cannot be read.
    """
    if path.is_file():
        return _table([path], path)
    if not path.is_dir():
        raise DataError(f"{path} does not exist; put there {_wanted(names)}, or name another path")
    files = find(path, names)
    if not files:
        raise DataError(f"{path} holds none of {_wanted(names)}; put one of them there")
    return _table(files, files[0] if len(files) == 1 else files[0].parent)


def find(folder: Path, names: Sequence[str]) -> list[Path]:
    """Files of the first name found in a folder, shards in order; empty when there are none."""
    for name in names:
        for base in (folder, folder / "data"):
            files = _named(base, name) or _within(base / name, name)
            if files:
                return files
    return columns.saved_files(folder) or (
        _within(folder, folder.name) if folder.name in names else []
    )


def _named(folder: Path, name: str) -> list[Path]:
    """The file of that name, or its shards."""
    for ending in (*_TEXT, *_TABLES):
        if (folder / (name + ending)).is_file():
            return [folder / (name + ending)]
    if not folder.is_dir():
        return []
    for ending in (".parquet", ".arrow", ".jsonl"):
        shards = [
            file
            for file in folder.iterdir()
            if file.name.startswith(name)
            and file.name.endswith(ending)
            and _SHARD.fullmatch(file.name[len(name) : -len(ending)])
        ]
        if shards:
            return sorted(shards, key=lambda file: file.name)
    return []


def _within(folder: Path, name: str) -> list[Path]:
    """Files of a folder that is one data set: saved to disk, by its name, or by a split's."""
    if not folder.is_dir():
        return []
    for place in (folder, *(folder / split for split in _SPLITS)):
        saved = columns.saved_files(place)
        if saved:
            return saved
    for stem in (name, *_SPLITS):
        for base in (folder, folder / "data"):
            files = _named(base, stem)
            if files:
                return files
    alone = [file for file in folder.iterdir() if file.name.endswith((*_TEXT, *_TABLES))]
    return alone if len(alone) == 1 else []


def _table(files: list[Path], shown: Path) -> Table:
    seal = hashlib.sha256()
    rows: list[dict[str, Any]] = []
    for file in files:
        for block in _blocks(file):
            seal.update(block)
        rows.extend((columns if file.suffix in _TABLES else lines).read(file))
    return Table(rows=rows, path=str(shown), sha256=seal.hexdigest())


def _blocks(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                yield block
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def _wanted(names: Sequence[str]) -> str:
    return ", ".join(f"{name}.jsonl" for name in names) + (
        " (or .json, .parquet, or a data set folder of that name)"
    )
