"""``mmspec-eval compare``: what changed between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmspec_evals.cli.report import formats_of
from mmspec_evals.results import compare
from mmspec_evals.results.write import finite, load, pretty

if TYPE_CHECKING:
    import argparse

HELP = "compare two runs, method by method"


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("first", type=Path, metavar="A", help="folder or results.json")
    parser.add_argument("second", type=Path, metavar="B", help="differences are B less (or over) A")
    parser.add_argument("--format", default="md", help="md, json or both (default: md)")


def run(options: argparse.Namespace) -> int:
    """Print the comparison."""
    formats = formats_of(options.format, ("md", "json"))
    found = compare.compare(load(options.first), load(options.second))
    if "md" in formats:
        print(compare.markdown(found, [str(options.first), str(options.second)]), end="")
    if "json" in formats:
        print(pretty(finite(found)))
    return 0
