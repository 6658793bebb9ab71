"""The user's file of a benchmark, and what documents made of its rows need."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from mmspec_evals.data.rows import read_rows
from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmspec_evals.data.rows import Table
    from mmspec_evals.task import Want


def wanted(want: Want, data: str, names: Sequence[str]) -> Table:
    """Rows of the file that ``--data`` names.

    Args:
        data: its name there. names: see ``read_rows``.

    Raises:
        DataError: none was named, or it holds nothing of the kind; says what to do.
    """
    if want.data is None:
        files = ", ".join(f"{name}.jsonl" for name in names)
        raise DataError(
            f"{data} needs its data: --data {data}=PATH, a folder with {files} "
            "(or .json, .parquet, a data set folder), or such a file itself"
        )
    table = read_rows(want.data, names)
    if not table.rows:
        raise DataError(f"{table.path} has no rows")
    return table


def field(row: Mapping[str, Any], name: str, table: Table) -> Any:
    """A field every row must have.

    Raises:
        DataError: it is not there.
    """
    if row.get(name) is None:
        raise DataError(f"{table.path}: a row has no {name!r}, only {', '.join(sorted(row))}")
    return row[name]


def words(row: Mapping[str, Any], name: str, table: Table) -> str:
    """A field that must be a text.

    Raises:
        DataError: it is not there, or something else.
    """
    value = field(row, name, table)
    if not isinstance(value, str):
        raise DataError(f"{table.path}: {name!r} is to be a text, not {str(value)[:60]!r}")
    return value


def named(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """An id for each row: its own by the first key it has, its place if none or used already."""
    ids: dict[str, None] = {}
    for place, row in enumerate(rows):
        own = next((row[key] for key in keys if row.get(key) is not None), place)
        name = str(own)
        while name in ids:
            name += f".{place}"
        ids[name] = None
    return list(ids)


def labelled(
    table: Table, keys: Sequence[str], limit: int | None
) -> list[tuple[str, dict[str, Any]]]:
    """The first ``limit`` rows with their ids, as ``named`` gives them."""
    return list(zip(named(table.rows, keys), table.rows, strict=True))[:limit]


def seal(text: str) -> str:
    """A name for a text: the start of its SHA-256; what shares a context shares it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
