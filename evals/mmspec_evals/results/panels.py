"""Sheets of panels, the forest of intervals, colours: what every plot shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.axes import Axes

    from mmspec_evals.results.series import Row

# Okabe and Ito's colours, which also the colour-blind tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#5B4B8A")
PLAIN, INK, FAINT = "#8A8A8A", "#333333", "#DDDDDD"
COLUMNS = 3  # panels in a row


def colours(methods: list[str]) -> dict[str, str]:
    """A colour a method, the same in every plot; plain decoding is grey."""
    others = [method for method in methods if method != "vanilla"]
    chosen = {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(others)}
    return {"vanilla": PLAIN} | chosen


def panels(
    rows: list[Row],
    colour: Mapping[str, str],
    draw: Callable[[Axes, list[Row]], None],
    title: str,
) -> Figure:
    """A panel a task, one legend of methods."""
    shown = tasks(rows)
    across = min(COLUMNS, len(shown))
    down = -(-len(shown) // across)
    figure, axes = sheet(down, across, (max(3.4 * across, 5.0), 3.0 * down + 0.9))
    for axis, task in zip(axes[: len(shown)], shown, strict=True):
        draw(axis, [row for row in rows if row["task"] == task])
        axis.set_title(task, fontsize=9, loc="left", color=INK)
    for axis in axes[len(shown) :]:
        axis.remove()
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    _legend(figure, list(dict.fromkeys(row["method"] for row in rows)), colour)
    return figure


def sheet(
    down: int, across: int, size: tuple[float, float], share: bool = False
) -> tuple[Figure, list[Any]]:
    """An empty figure of ``down`` by ``across`` panels, ``size`` in inches."""
    below = 0.22 / size[1]  # room for a line of explanation
    layout = ConstrainedLayoutEngine(rect=(0.01, below, 0.98, 0.99 - below))
    figure = Figure(figsize=size, dpi=150, layout=layout)
    axes = figure.subplots(down, across, squeeze=False, sharex=share, sharey=share)
    for axis in axes.flat:
        axis.grid(color=FAINT, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(PLAIN)
        axis.tick_params(labelsize=8, color=PLAIN, labelcolor=INK)
        axis.xaxis.label.set(size=8, color=INK)
    return figure, list(axes.flat)


def forest(
    axis: Axes, rows: list[Row], lines: list[tuple[str, str]], colour: Mapping[str, str]
) -> None:
    """Points with intervals, tasks as headings, methods as lines under them."""
    places: dict[tuple[str, str], float] = {}
    ticks, names = [], []
    height, last = 0.0, None
    for task, method in lines:
        if task != last:
            height -= 0.9
            axis.text(
                0.0,
                height,
                f" {task}",
                transform=axis.get_yaxis_transform(),
                fontsize=8.5,
                color=INK,
                va="center",
                weight="bold",
            )
            axis.axhspan(height - 0.38, height + 0.38, color="#F2F2F2", linewidth=0, zorder=2)
            last = task
        height -= 1.0
        places[task, method] = height
        ticks.append(height)
        names.append(method)
    for row in rows:
        place = places[row["task"], row["method"]]
        tint = colour[row["method"]]
        if row["low"] is not None:
            axis.plot([row["low"], row["high"]], [place, place], color=tint, linewidth=2)
        axis.plot(row["value"], place, "o", color=tint, markersize=6)
    axis.set_yticks(ticks, names)
    axis.set_ylim(height - 0.7, -0.3)
    axis.grid(visible=False, axis="y")


def _legend(figure: Figure, methods: list[str], colour: Mapping[str, str]) -> None:
    handles = [Line2D([], [], color=colour[m], marker="o", linewidth=2, label=m) for m in methods]
    figure.legend(
        handles=handles,
        loc="outside upper right",
        ncols=min(4 if figure.get_figwidth() > 9 else 2, len(methods)),
        frameon=False,
        fontsize=8,
    )


def tasks(rows: list[Row]) -> list[str]:
    """Tasks in order of appearance."""
    return list(dict.fromkeys(row["task"] for row in rows))
