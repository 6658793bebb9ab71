"""Rows of a VQA benchmark from the files people have: one folder, several layouts."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from mmspec_evals.data.rows import Table, find, read_rows
from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Row = dict[str, Any]
IDS = ("question_id", "questionId", "qid", "id", "index")
QUESTIONS = ("question", "text", "query")
_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def read(
    path: Path,
    files: Sequence[str],
    *,
    parts: Sequence[tuple[str, str]] = (),
    mapping: str = "",
    answers: Sequence[str] = (),
    pictures: Sequence[str] = (),
) -> Table:
    """Rows of a file, or of a folder by the names its files go by.

    Args:
        files: stems of the file of questions. parts: stems of files that make up the benchmark
            together, each with the category its rows are of; taken before ``files``.
        mapping: stem of a JSON object from id to row; taken if none of ``files`` is there.
        answers: stems of a second file, whose rows are joined by id (and by question, where ids
            are those of pictures). pictures: of a third, of rows ``id`` and ``image``.

    Raises:
        DataError: nothing is there, or it cannot be read.
    """
    tables = _questions(path, files, parts, mapping)
    rows = tables[0].rows
    if path.is_dir():
        if joined := _other(path, answers, tables):
            rows = _joined(rows, joined.rows)
            tables.append(joined)
        if shown := _other(path, pictures, tables):
            by_id = {str(row["id"]): row["image"] for row in shown.rows}
            rows = [row | {"image": by_id.get(str(row.get("imageId")))} for row in rows]
            tables.append(shown)
    return tables[0] if len(tables) == 1 else Table(rows, str(path), joint_sha(tables))


def identifier(row: Row) -> str | None:
    """The row's id, under whichever name."""
    return next((str(row[name]) for name in IDS if row.get(name) is not None), None)


def question(row: Row) -> str:
    """The row's question, under whichever name.

    Raises:
        DataError: there is none.
    """
    for name in QUESTIONS:
        if isinstance(row.get(name), str):
            text: str = row[name]
            return text
    raise DataError(f"a row has no question: its columns are {', '.join(row)}")


def _questions(
    path: Path, files: Sequence[str], parts: Sequence[tuple[str, str]], mapping: str
) -> list[Table]:
    held = [(stem, kind) for stem, kind in parts if path.is_dir() and _has(path, stem)]
    if held:
        tables = [read_rows(path, [stem]) for stem, _ in held]
        rows = [
            row | {"category": kind}
            for table, (_, kind) in zip(tables, held, strict=True)
            for row in table.rows
        ]
        return [Table(rows, str(path), tables[0].sha256), *tables[1:]]
    if mapping and not (path.is_dir() and find(path, files)):
        mapped = _as_mapping(path / f"{mapping}.json" if path.is_dir() else path)
        if mapped is not None:
            return [mapped]
    return [read_rows(path, files)]


def _has(folder: Path, stem: str) -> bool:
    return any((folder / f"{stem}{ending}").is_file() for ending in _ENDINGS)


def _other(path: Path, names: Sequence[str], known: list[Table]) -> Table | None:
    """A further file of a folder, if it is there; the file of questions is none."""
    for name in names:
        if (path / f"{name}.json").is_file() and (table := _as_mapping(path / f"{name}.json")):
            return table
        files = find(path, [name])
        if files and all(str(file) != table.path for file in files for table in known):
            return read_rows(path, [name])
    return None


def _joined(rows: list[Row], others: list[Row]) -> list[Row]:
    """Rows with what the others say of the same id; a row's own columns and question win."""
    by_both: dict[tuple[str | None, str], Row] = {}
    by_id: dict[str | None, Row] = {}
    for other in others:
        for key in {identifier(other), str(other.get("image_id"))}:
            by_both[key, _asked(other)] = other
        by_id[identifier(other)] = other
    found = (
        by_both.get((identifier(row), _asked(row)), by_id.get(identifier(row), {})) for row in rows
    )
    return [
        {name: value for name, value in other.items() if name not in QUESTIONS} | row
        for other, row in zip(found, rows, strict=True)
    ]


def _asked(row: Row) -> str:
    text = next((row[name] for name in QUESTIONS if isinstance(row.get(name), str)), "")
    return text.partition("\n")[0].strip().lower()


def _as_mapping(path: Path) -> Table | None:
    """A JSON object from id to row; None if the file is anything else."""
    try:
        data = path.read_bytes()
        whole = json.loads(data)
    except (OSError, ValueError):
        return None
    if not isinstance(whole, dict) or not all(isinstance(row, dict) for row in whole.values()):
        return None
    rows = [{"question_id": key} | row for key, row in whole.items()]
    return Table(rows, str(path), hashlib.sha256(data).hexdigest()) if rows else None


def joint_sha(tables: Iterable[Table]) -> str:
    """One digest for several files: of the digests of each, in the order read."""
    seal = hashlib.sha256()
    for table in tables:
        seal.update(bytes.fromhex(table.sha256))
    return seal.hexdigest()
