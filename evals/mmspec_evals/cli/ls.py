"""``mmspec-eval ls``: what can be named to ``--tasks`` and ``--methods``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

HELP = "list tasks, methods or groups"
Rows = list[tuple[str, ...]]


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("what", choices=tuple(_LISTS), nargs="?", default="tasks")


def run(options: argparse.Namespace) -> int:
    """Print a table on a terminal, else a line an entry, fields apart by tabs."""
    names, rows = _LISTS[options.what]()
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(row))
        return 0
    from rich.console import Console  # noqa: PLC0415  # only where there is a terminal
    from rich.table import Table  # noqa: PLC0415

    table = Table(*names, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    return 0


def tasks() -> tuple[tuple[str, ...], Rows]:
    """Every task with what it takes."""
    from mmspec_evals.registry import all_tasks  # noqa: PLC0415  # imports every task

    rows: Rows = [
        (
            task.name,
            task.modality,
            task.profile,
            str(task.max_new_tokens),
            task.metrics[0].name if task.metrics else "",
            f"--data {task.data}=PATH" if task.data else "",
            ", ".join(task.aliases),
        )
        for task in all_tasks().values()
    ]
    return ("task", "modality", "fit for", "new tokens", "metric", "data", "also"), rows


def groups() -> tuple[tuple[str, ...], Rows]:
    """Names that mean several tasks."""
    from mmspec_evals.registry import all_tasks  # noqa: PLC0415  # imports every task

    held: dict[str, list[str]] = {}
    for task in all_tasks().values():
        held.setdefault(task.group, []).append(task.name)
    return ("group", "tasks"), [(group, ", ".join(names)) for group, names in held.items()]


def methods() -> tuple[tuple[str, ...], Rows]:
    """Every method and what it is."""
    from mmspec_evals.methods.listing import describe  # noqa: PLC0415

    return ("method", "what it is"), list(describe().items())


_LISTS: dict[str, Callable[[], tuple[tuple[str, ...], Rows]]] = {
    "tasks": tasks,
    "methods": methods,
    "groups": groups,
}
