"""A report's files: text, tables, plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec_evals.errors import PlanError
from mmspec_evals.results import series
from mmspec_evals.results.markdown import report
from mmspec_evals.results.write import save

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

FORMATS = ("md", "json", "csv", "png")


def publish(result: Mapping[str, Any], out: Path, formats: Collection[str]) -> list[Path]:
    """Write a result's report into a folder; the paths written.

    Raises:
        PlanError: plots are wanted and matplotlib is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    rows = {name: make(result) for name, make in series.every().items()}
    pictures: list[Path] = []
    if "png" in formats:
        pictures = draw(result, {name: held for name, held in rows.items() if held}, out / "plots")
    if "csv" in formats:
        written += tables(rows, out / "plots")
    if "json" in formats:
        save(out / "results.json", result)
        written.append(out / "results.json")
    if "md" in formats:
        shown = [path.relative_to(out).as_posix() for path in pictures]
        (out / "report.md").write_text(report(result, shown), encoding="utf-8")
        written.append(out / "report.md")
    return [*written, *pictures]


def tables(rows: Mapping[str, list[series.Row]], folder: Path) -> list[Path]:
    """The rows behind the plots as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, held in rows.items():
        path = folder / f"{name}.csv"
        path.write_text(series.as_csv(held), encoding="utf-8")
        paths.append(path)
    return paths


def draw(
    result: Mapping[str, Any], rows: Mapping[str, list[series.Row]], folder: Path
) -> list[Path]:
    """Plots as PNG.

    Raises:
        PlanError: matplotlib is not installed.
    """
    try:
        from mmspec_evals.results import panels, plots  # noqa: PLC0415  # of an extra
    except ModuleNotFoundError as error:
        raise PlanError(f"plots need {error.name}: pip install 'mmspec[evals]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    methods = dict.fromkeys(method for _, method, _ in series.cells(result))
    colours = panels.colours(list(methods))
    paths = []
    for name, make in plots.drawings().items():
        if name in rows:
            figure = make(rows[name], colours)
            figure.savefig(folder / f"{name}.png")
            paths.append(folder / f"{name}.png")
    return paths
