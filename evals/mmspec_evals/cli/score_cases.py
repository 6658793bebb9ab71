"""``mmspec-eval score-cases``: official scores of free-standing answers, for comparison."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec_evals.data import case_rows

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from mmspec_evals.metrics.cases import CaseScore

HELP = "score answers of a JSONL file by a suite's official rules"
SUITES = ("infinitebench", "vqa", "longbench")  # modules SUITE_cases of mmspec_evals.metrics


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--suite", required=True, choices=SUITES)
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE.jsonl",
        help="rows of task or metric (dataset for LongBench), prediction, ground_truth or answers, "
        "perhaps all_classes, model_name, options",
    )
    parser.add_argument("--out", type=Path, help="where the rows go (default: standard output)")


def run(options: argparse.Namespace) -> int:
    """Write every row back with its ``score``, and ``error`` where there is none to be had."""
    score_case = _scorer(options.suite)
    rows = case_rows.answered(options.file, lambda row: _fields(score_case(row)))
    count, errors = case_rows.write(({"score": 0.0} | row for row in rows), options.out)
    print(f"{count} rows, {errors} of them without a score of their own", file=sys.stderr)
    return 0


def _scorer(suite: str) -> Callable[[Mapping[str, Any]], CaseScore]:
    return importlib.import_module(f"mmspec_evals.metrics.{suite}_cases").score_case


def _fields(result: CaseScore) -> dict[str, Any]:
    error = {} if result.error is None else {"error": result.error}
    return {"score": result.score} | error
