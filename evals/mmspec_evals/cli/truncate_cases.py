"""``mmspec-eval truncate-cases``: which tokens InfiniteBench's scripts keep, for comparison."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec_evals.data import case_rows
from mmspec_evals.metrics.truncate import MODES, kept

if TYPE_CHECKING:
    import argparse

HELP = "tokens that InfiniteBench's truncation keeps, for rows of length and max_length"


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE.jsonl",
        help="rows of length, max_length and perhaps mode: local or gpt4",
    )
    parser.add_argument("--out", type=Path, help="where the rows go (default: standard output)")


def run(options: argparse.Namespace) -> int:
    """Write every row back with ``kept`` (of its mode) or ``kept_local`` and ``kept_gpt4``."""
    count, errors = case_rows.write(case_rows.answered(options.file, _kept), options.out)
    print(f"{count} rows, {errors} of them unfit", file=sys.stderr)
    return 0


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    length, limit = _whole(row.get("length")), _whole(row.get("max_length"))
    if length is None or limit is None or length < 0:
        return {"error": "length and max_length must be whole numbers, length no less than 0"}
    if "mode" not in row:
        return {f"kept_{mode}": kept(length, limit, mode) for mode in MODES}
    if row["mode"] not in MODES:
        return {"error": f"mode is one of {', '.join(MODES)}, not {row['mode']!r}"}
    return {"kept": kept(length, limit, row["mode"])}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
