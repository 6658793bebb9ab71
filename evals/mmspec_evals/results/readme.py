"""The README's table of evaluations, made from a committed result: one row a task."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mmspec_evals.errors import DataError
from mmspec_evals.results.arms import VANILLA
from mmspec_evals.results.markdown import number, score, share, table, text, times

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BEGIN, END = "<!-- evals -->", "<!-- /evals -->"
OURS = "mmspec"


def replace(readme: Path, result: Mapping[str, Any], source: str) -> None:
    """Put the result's table between the two marks of ``readme``; ``source`` names its file.

    Raises:
        DataError: the file or its marks are missing.
    """
    try:
        words = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{readme}: {error}") from error
    before, begin, rest = words.partition(BEGIN)
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
        *by_task(result),
        "",
        "Decoding, whole calls: over plain decoding, 95 % intervals. *Said again*: the share of "
        f"the answers that only repeats itself, which flatters drafting. From `{source}`, "
        f"{made or 'undated'}, commit {(result['git_hash'] or 'unknown')[:7]}, {where}, "
        f"torch {machine['torch']}, {machine['dtype']}, model `{result['model_name']}`, "
        f"{kinds} data; definitions and reservations are in the file.",
    ]


def by_task(result: Mapping[str, Any]) -> list[str]:
    """Quality, the change of text, tau, and every method's speed over plain decoding."""
    arms = dict.fromkeys(name for methods in result["methods"].values() for name in methods)
    others = [name for name in arms if name not in (OURS, VANILLA)]
    rows = [_row(result, task, methods, others) for task, methods in result["methods"].items()]
    names = ["task", "n", "score", "text", "tau", "said again", "decoding", "whole call"]
    return table([*names, *(f"{name}, decoding" for name in others)], rows)


def _row(
    result: Mapping[str, Any], task: str, methods: Mapping[str, Any], others: list[str]
) -> list[str]:
    metric = next((m["metric"] for m in result["configs"][task]["metric_list"]), None)
    ours = methods.get(OURS)
    if ours is None or "unsupported" in ours:
        ours, told = None, [""] * 7
    else:
        told = [
            str(ours["n"]),
            score(result, task, metric, ours).partition(" (")[0],
            text(ours["lossless"]),
            number(ours["spec"]["tau"]),
            share(ours["spec"].get("repeated")),
            times(ours["speed"], "speedup_decode"),
            times(ours["speed"], "speedup_e2e"),
        ]
    return [task, *told, *(_decoding(methods.get(name)) for name in others)]


def _decoding(cell: Mapping[str, Any] | None) -> str:
    """The bare ratio of a method we compare with, or that it cannot."""
    if cell is None:
        return ""
    if "unsupported" in cell:
        return "cannot"
    ratio = cell["speed"].get("speedup_decode")
    return "-" if ratio is None else f"{ratio:.2f}x"
