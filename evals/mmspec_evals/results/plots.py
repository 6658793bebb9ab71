"""Plots of a result, drawn from the rows of ``series`` without a display."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mmspec_evals.results.panels import INK, forest, panels, sheet, tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mmspec_evals.results.series import Row


def drawings() -> dict[str, Callable[[list[Row], Mapping[str, str]], Figure]]:
    """Plots by the name of their series."""
    return {
        "speedup": speedup,
        "speedup_by_context": by_context,
        "acceptance": acceptance,
        "accepted_histogram": histogram,
        "paired_seconds": paired,
        "quality": quality,
    }


def speedup(rows: list[Row], colour: Mapping[str, str]) -> Figure:
    """Speedup with interval, a line a task and method, both kinds side by side."""
    lines = list(dict.fromkeys((row["task"], row["method"]) for row in rows))
    figure, axes = sheet(1, 2, (9.5, 1.4 + 0.3 * len(lines) + 0.25 * len(tasks(rows))), True)
    for axis, kind, title in zip(axes, ("decode", "e2e"), ("decoding", "end to end"), strict=True):
        forest(axis, [row for row in rows if row["kind"] == kind], lines, colour)
        axis.axvline(1.0, color=INK, linewidth=0.8, zorder=1)
        axis.set_title(title, fontsize=10, loc="left", color=INK)
        axis.set_xlabel("times as fast as plain decoding")
        axis.set_xlim(left=min(0.9, axis.get_xlim()[0]))
    axes[1].tick_params(labelleft=False)
    figure.suptitle("Speedup over plain decoding, 95 % intervals", x=0.01, ha="left", fontsize=12)
    return figure


def quality(rows: list[Row], colour: Mapping[str, str]) -> Figure:
    """Headline metric with interval, a line a task and method."""
    shown = [_percent(row) for row in rows if row["headline"] and row["percent"]]
    lines = list(dict.fromkeys((row["task"], row["method"]) for row in shown))
    figure, axes = sheet(1, 1, (7.5, 1.4 + 0.3 * len(lines) + 0.25 * len(tasks(shown))))
    forest(axes[0], shown, lines, colour)
    axes[0].set_xlim(-2, 102)
    axes[0].set_xlabel("headline metric of the task, %")
    figure.suptitle("Quality, 95 % intervals", x=0.01, ha="left", fontsize=12)
    return figure


def by_context(rows: list[Row], colour: Mapping[str, str]) -> Figure:
    """Decode speedup (full line) and end to end (dotted) over prompt length, a panel a task."""

    def draw(axis: Axes, held: list[Row]) -> None:
        aside = {m: 1.02**place for place, m in enumerate(dict.fromkeys(r["method"] for r in held))}
        for method, kind in dict.fromkeys((row["method"], row["kind"]) for row in held):
            points = [r for r in held if (r["method"], r["kind"]) == (method, kind)]
            whole = kind == "decode"
            axis.errorbar(
                [row["prompt_tokens"] * aside[method] for row in points],
                [row["value"] for row in points],
                yerr=_errors(points),
                color=colour[method],
                linestyle="-" if whole else ":",
                marker="o" if whole else "s",
                markerfacecolor=colour[method] if whole else "white",
                markersize=5,
                linewidth=1.6,
                elinewidth=0.9,
                capsize=2,
            )
        axis.axhline(1.0, color=INK, linewidth=0.8)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(FuncFormatter(_thousands))
        low, high = axis.get_xlim()
        if high < 4 * low:
            axis.set_xlim(low / 2, high * 2)
        axis.set_xlabel("prompt tokens")

    figure = panels(rows, colour, draw, "Speedup by prompt length")
    figure.text(0.01, 0.015, "full: decoding   dotted, hollow: end to end", fontsize=8, color=INK)
    return figure


def acceptance(rows: list[Row], colour: Mapping[str, str]) -> Figure:
    """Acceptance by drafted position: unconditional (full) and conditional (dashed)."""

    def draw(axis: Axes, held: list[Row]) -> None:
        for method in dict.fromkeys(row["method"] for row in held):
            points = [row for row in held if row["method"] == method]
            positions = [row["k"] for row in points]
            bounds = [row for row in points if row["low"] is not None]
            axis.fill_between(
                [row["k"] for row in bounds],
                [row["low"] for row in bounds],
                [row["high"] for row in bounds],
                color=colour[method],
                alpha=0.15,
                linewidth=0,
            )
            rates = [math.nan if row["alpha"] is None else row["alpha"] for row in points]
            at = [row["accept_at"] for row in points]
            axis.plot(positions, at, color=colour[method], marker="o", markersize=4)
            axis.plot(positions, rates, "--", color=colour[method], marker="s", markersize=3.5)
        axis.set_ylim(0, 1.03)
        axis.set_xlabel("drafted position k")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))

    figure = panels(rows, colour, draw, "Acceptance by drafted position")
    figure.text(
        0.01,
        0.015,
        "full: accept_at[k], share of drafts   dashed: alpha[k], given k-1",
        fontsize=8,
        color=INK,
    )
    return figure


def histogram(rows: list[Row], colour: Mapping[str, str]) -> Figure:
    """Share of passes with a draft by drafted tokens kept."""

    def draw(axis: Axes, held: list[Row]) -> None:
        methods = list(dict.fromkeys(row["method"] for row in held))
        width = 0.8 / len(methods)
        for place, method in enumerate(methods):
            points = [row for row in held if row["method"] == method]
            shift = (place - (len(methods) - 1) / 2) * width
            axis.bar(
                [row["accepted"] + shift for row in points],
                [row["share"] for row in points],
                width * 0.92,
                color=colour[method],
            )
        axis.set_xlabel("drafted tokens kept, share of passes with a draft")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))

    return panels(rows, colour, draw, "Drafted tokens kept a draft")


def paired(rows: list[Row], colour: Mapping[str, str]) -> Figure:
    """Seconds of each document under a method against plain decoding, with the line of equality."""

    def draw(axis: Axes, held: list[Row]) -> None:
        for method in dict.fromkeys(row["method"] for row in held):
            points = [row for row in held if row["method"] == method]
            axis.scatter(
                [row["base_s"] for row in points],
                [row["s"] for row in points],
                s=16,
                color=colour[method],
                alpha=0.75,
                linewidths=0,
            )
        spans = [value for row in held for value in (row["base_s"], row["s"]) if value > 0]
        low, high = min(spans, default=0.1) / 1.15, max(spans, default=1.0) * 1.15
        axis.plot([low, high], [low, high], color=INK, linewidth=0.8)
        axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            side.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
            side.set_minor_formatter(NullFormatter())
        axis.set_xlabel("plain decoding, seconds")
        if axis.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axis.set_ylabel("method, seconds", fontsize=8, color=INK)

    return panels(rows, colour, draw, "Seconds a document (under the line: faster)")


def _errors(points: list[Row]) -> list[list[float]]:
    """Distances from each value to the ends of its interval; none where there is none."""
    return [
        [0.0 if row["low"] is None else max(0.0, row["value"] - row["low"]) for row in points],
        [0.0 if row["high"] is None else max(0.0, row["high"] - row["value"]) for row in points],
    ]


def _percent(row: Row) -> Row:
    scaled = {name: None if row[name] is None else 100 * row[name]
              for name in ("value", "low", "high")}  # fmt: skip
    return row | scaled


def _thousands(tokens: float, _: Any = None) -> str:
    return f"{tokens / 1024:g}k" if tokens >= 1024 else f"{tokens:g}"
