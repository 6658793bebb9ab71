"""``mmspec-eval report``: a readable report, plots and tables of one run or two."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec_evals.errors import PlanError
from mmspec_evals.results import compare
from mmspec_evals.results.publish import FORMATS, publish
from mmspec_evals.results.readme import replace
from mmspec_evals.results.write import load, save

if TYPE_CHECKING:
    import argparse

HELP = "write a run's report, plots and tables"


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder or results.json, at most two"
    )
    parser.add_argument("--format", help=f"of {','.join(FORMATS)} (default: md,csv,png)")
    parser.add_argument("--out", type=Path, help="folder to write to (default: beside the results)")
    parser.add_argument(
        "--readme",
        type=Path,
        metavar="FILE",
        help="put the table between the <!-- evals --> marks of FILE (and write no report unless "
        "--format is given)",
    )


def run(options: argparse.Namespace) -> int:
    """Write what is asked and name it."""
    if len(options.runs) > 2:
        raise PlanError("report takes one run or two")
    results = [load(path) for path in options.runs]
    if options.readme is not None:
        source = os.path.relpath(_file(options.runs[0]), options.readme.parent)
        replace(options.readme, results[0], Path(source).as_posix())
        print(options.readme)
        if options.format is None:
            return 0
    formats = formats_of(options.format or "md,csv,png", FORMATS)
    folders = [_file(path).parent for path in options.runs]
    if options.out is not None:
        apart = len(folders) > 1
        folders = [options.out / f"{i}" if apart else options.out for i in range(len(folders))]
    written = []
    for result, folder in zip(results, folders, strict=True):
        written += publish(result, folder, formats)
    if len(results) > 1:
        written += _both(results, [_name(path) for path in options.runs], options.out or folders[0])
    for path in written:
        print(path)
    return 0


def formats_of(text: str, known: tuple[str, ...]) -> list[str]:
    """Names from a list with commas.

    Raises:
        PlanError: one is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise PlanError(f"unknown format {', '.join(unknown)!r}: choose from {', '.join(known)}")
    return names


def _both(results: list[dict[str, Any]], names: list[str], folder: Path) -> list[Path]:
    found = compare.compare(*results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compare.md").write_text(compare.markdown(found, names), encoding="utf-8")
    save(folder / "compare.json", found)
    return [folder / "compare.md", folder / "compare.json"]


def _file(path: Path) -> Path:
    return path / "results.json" if path.is_dir() else path


def _name(path: Path) -> str:
    return _file(path.resolve()).parent.name
