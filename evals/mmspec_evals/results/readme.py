"""The README's table of evaluations, made from a committed result."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mmspec_evals.errors import DataError
from mmspec_evals.results.markdown import headline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BEGIN, END = "<!-- evals -->", "<!-- /evals -->"


def replace(readme: Path, result: Mapping[str, Any], source: str) -> None:
    """Put the result's table between the two marks of ``readme``; ``source`` names its file.

    Raises:
        DataError: the file or its marks are missing.
    """
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{readme}: {error}") from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f"{readme}: no {BEGIN} ... {END} to write between")
    lines = "\n".join(section(result, source))
    readme.write_text(f"{before}{BEGIN}\n{lines}\n{END}{after}", encoding="utf-8")


def section(result: Mapping[str, Any], source: str) -> list[str]:
    """The table and where it came from."""
    machine = result["environment"]
    made = result["date"] and datetime.fromtimestamp(result["date"], UTC).strftime("%Y-%m-%d")
    where = machine["gpu"] or f"{machine['threads']} threads of a CPU"
    kinds = " and ".join(dict.fromkeys(data["kind"] for data in result["data"].values()))
    return [
        *headline(result),
        "",
        f"`{source}`, {made or 'undated'}, commit {(result['git_hash'] or 'unknown')[:7]}, "
        f"{where}, torch {machine['torch']}, {machine['dtype']}, model `{result['model_name']}`, "
        f"{kinds} data; definitions and reservations are in the file.",
    ]
