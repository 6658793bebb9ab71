"""``mmspec-eval verify``: the losslessness gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmspec_evals.results import lossless
from mmspec_evals.results.markdown import number, table
from mmspec_evals.results.series import cells
from mmspec_evals.results.write import load

if TYPE_CHECKING:
    import argparse

HELP = "fail (status 4) if a method's text is not the target's own"
FAILED = 4


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder or results.json")
    parser.add_argument(
        "--min-documents",
        type=int,
        default=0,
        metavar="N",
        help="documents to have been audited, of every method that claims to be lossless",
    )


def run(options: argparse.Namespace) -> int:
    """Print what the audit found; the status says whether it may pass."""
    rows, failed = [], False
    for task, method, cell in cells(load(options.run)):
        found = cell["lossless"]
        reason = lossless.verdict(found, options.min_documents)
        failed = failed or reason is not None
        kinds = ("exact", "near_tie", "violation", "approximate", "not_compared")
        rows.append(
            [
                task,
                method,
                "yes" if found["claimed"] else "no",
                *(str(found[kind]) for kind in kinds),
                "" if found["first_divergence"] is None else str(found["first_divergence"]),
                number(found["worst_gap"], 3),
                reason or "passes",
            ]
        )
    names = ["task", "method", "claims it", "exact", "near tie", "violation", "approximate"]
    print("\n".join(table([*names, "not compared", "first difference", "worst gap", "gate"], rows)))
    return FAILED if failed else 0
