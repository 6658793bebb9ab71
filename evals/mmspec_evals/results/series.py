"""The numbers behind every plot, as rows: what the CSV files hold and the plots draw."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Row = dict[str, Any]


def every() -> dict[str, Callable[[Mapping[str, Any]], list[Row]]]:
    """Series by the name of their file."""
    return {
        "speedup": speedup,
        "speedup_by_context": by_context,
        "acceptance": acceptance,
        "accepted_histogram": histogram,
        "paired_seconds": paired,
        "quality": quality,
    }


def cells(result: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(task, method, cell) of everything measured."""
    for task, methods in result["methods"].items():
        for method, cell in methods.items():
            if "unsupported" not in cell:
                yield task, method, cell


def speedup(result: Mapping[str, Any]) -> list[Row]:
    """Speedups over plain decoding, both kinds."""
    return [
        {"task": task, "method": method, "kind": kind}
        | _bounded(cell["speed"], f"speedup_{kind}")
        | {"n": cell["speed"]["n"]}
        for task, method, cell in cells(result)
        for kind in ("decode", "e2e")
        if method != "vanilla" and cell["speed"].get(f"speedup_{kind}") is not None
    ]


def by_context(result: Mapping[str, Any]) -> list[Row]:
    """Speedups by prompt length."""
    return [
        {"task": task, "method": method, "kind": kind, "bucket": bucket}
        | {"prompt_tokens": found["prompt_tokens"]}
        | _bounded(found, f"speedup_{kind}")
        | {"n": found["n"]}
        for task, method, cell in cells(result)
        for kind in ("decode", "e2e")
        for bucket, found in cell["speed"].get("by_context", {}).items()
        if method != "vanilla" and found[f"speedup_{kind}"] is not None
    ]


def acceptance(result: Mapping[str, Any]) -> list[Row]:
    """Acceptance by drafted position, for tasks with answers long enough."""
    return [
        {"task": task, "method": method, "k": k, "accept_at": at, "low": low, "high": high}
        | {"alpha": rate}
        for task, method, cell in cells(result)
        if cell["spec"]["long_enough"] and cell["spec"]["accept_at"]
        for k, (at, (low, high), rate) in enumerate(
            zip(
                cell["spec"]["accept_at"],
                (ends or (None, None) for ends in cell["spec"]["accept_at_ci95"]),
                cell["spec"]["alpha"],
                strict=True,
            ),
            1,
        )
    ]


def histogram(result: Mapping[str, Any]) -> list[Row]:
    """Passes with a draft, by how many drafted tokens they kept."""
    return [
        {"task": task, "method": method, "accepted": accepted, "rounds": rounds}
        | {"share": rounds / sum(cell["spec"]["histogram"])}
        for task, method, cell in cells(result)
        for accepted, rounds in enumerate(cell["spec"]["histogram"] or [])
    ]


def paired(result: Mapping[str, Any]) -> list[Row]:
    """Seconds of every document, method and base, at equal work."""
    return [
        {"task": task, "method": method, "doc": doc, "base_s": base, "s": spent}
        for task, method, cell in cells(result)
        if method != "vanilla"
        for doc, base, spent in zip(
            cell["documents"]["id"],
            cell["documents"]["base_s"],
            cell["documents"]["s"],
            strict=True,
        )
        if base is not None and spent is not None
    ]


def quality(result: Mapping[str, Any]) -> list[Row]:
    """Every metric of every method; ``headline`` marks a task's first."""
    rows: list[Row] = []
    for task, method, cell in cells(result):
        metrics = {row["metric"]: row for row in result["configs"][task]["metric_list"]}
        told = cell["quality"]
        rows += [
            {"task": task, "method": method, "metric": metric}
            | _bounded(told, metric)
            | {"n": told[f"{metric}_n"]}
            | {"percent": metrics.get(metric, {}).get("percent", False)}
            | {"headline": metric == next(iter(metrics), None)}
            for metric in told
            if f"{metric}_stderr" in told
        ]
    return rows


def as_csv(rows: list[Row]) -> str:
    """Rows as comma-separated text with a header; what is unknown is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _bounded(block: Mapping[str, Any], name: str) -> Row:
    low, high = block.get(f"{name}_ci95") or (None, None)
    return {"value": block[name], "low": low, "high": high}
