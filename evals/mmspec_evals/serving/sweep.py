"""The same benchmark at several loads, with and without speculation: a table and a curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec_evals.serving.run import Plan, bench

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import httpx

    from mmspec_evals.serving.client import Asking
    from mmspec_evals.serving.job import Job

_BAR = 40
_COLUMNS = (
    ("req/s", "request_throughput", "{:.2f}"),
    ("tok/s", "output_throughput", "{:.1f}"),
    ("TTFT p50", "median_ttft_ms", "{:.0f}"),
    ("TTFT mean", "mean_ttft_ms", "{:.0f}"),
    ("TPOT p50", "median_tpot_ms", "{:.1f}"),
    ("TPOT mean", "mean_tpot_ms", "{:.1f}"),
    ("E2EL p50", "median_e2el_ms", "{:.0f}"),
    ("goodput", "request_goodput", "{:.2f}"),
    ("accept", "spec_decode_acceptance_length", "{:.2f}"),
    ("tau", "spec_decode_tau", "{:.2f}"),
    ("failed", "failed", "{}"),
)


async def sweep(
    http: httpx.AsyncClient,
    arms: Mapping[str, Asking],
    plans: Sequence[Plan],
    jobs: Callable[[int], list[Job]],
    done: Callable[[dict[str, Any]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Measure every plan in every arm; arms take turns, and every second time in reverse.

    Args:
        http: the server's.
        arms: how requests are put, by label (such as ``on``, ``off``).
        plans: loads.
        jobs: fresh ones for the cell with this number, so that no arm finds its prompts in a
            cache that another arm filled.
        done: told of each cell's result, which has its ``level`` and ``speculation``.

    Raises:
        EvalError: the first request of an arm fails.
    """
    cells: list[dict[str, Any]] = []
    for turn, plan in enumerate(plans):
        labels = list(arms)[:: -1 if turn % 2 else 1]
        for label in labels:
            asked = jobs(len(cells) + 1)
            warm = jobs(0)[:1] if turn == 0 else []
            found = await bench(http, arms[label], asked, plan, warm)
            level = plan.concurrency if plan.rate == float("inf") else plan.rate
            cells.append({"level": level, "speculation": label, **found})
            done(cells[-1])
    return sorted(cells, key=lambda cell: (cell["level"], list(arms).index(cell["speculation"])))


def table(cells: Sequence[Mapping[str, Any]], unit: str) -> str:
    """The cells as a Markdown table; columns nobody has are left out.

    Args:
        unit: what the levels are: ``rate`` or ``concurrency``.
    """
    shown = [c for c in _COLUMNS if any(cell.get(c[1]) is not None for cell in cells)]
    heads = [unit, "speculation", *(head for head, _, _ in shown)]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for cell in cells:
        values = ["" if cell.get(key) is None else form.format(cell[key]) for _, key, form in shown]
        lines.append(_row([f"{cell['level']:g}", str(cell["speculation"]), *values]))
    return "\n".join(lines) + "\n"


def curve(cells: Sequence[Mapping[str, Any]], unit: str) -> str:
    """Goodput over load as bars; throughput where no objective was set."""
    aimed = any(cell.get("request_goodput") is not None for cell in cells)
    key = "request_goodput" if aimed else "request_throughput"
    most = max((float(cell[key]) for cell in cells), default=0.0) or 1.0
    lines = ["goodput (req/s within the objectives)" if aimed else "throughput (req/s)"]
    for cell in cells:
        bar = "#" * round(_BAR * float(cell[key]) / most)
        label = f"{unit} {cell['level']:g} {cell['speculation']}"
        lines.append(f"{label:<24} {bar:<{_BAR}} {cell[key]:.2f}")
    return "\n".join(lines) + "\n"


def _row(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"
