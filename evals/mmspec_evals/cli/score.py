"""``mmspec-eval score``: mark the samples of a run again, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmspec_evals.cli.run import finish
from mmspec_evals.running.layout import read_plan

if TYPE_CHECKING:
    import argparse

HELP = "mark the samples of a run again, without a model, and rewrite its results"


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--require-lossless", action="store_true", help="status 4 if a violation was found"
    )


def run(options: argparse.Namespace) -> int:
    """Mark and rewrite; the status is that of a run."""
    from mmspec_evals.running.resume import failures  # noqa: PLC0415
    from mmspec_evals.running.scoring import mark_again  # noqa: PLC0415  # imports every task

    plan = read_plan(options.run)
    print(f"{mark_again(options.run, plan)} samples marked")
    failed = failures(plan, options.run)
    return finish(options.run, failed, require_lossless=options.require_lossless)
