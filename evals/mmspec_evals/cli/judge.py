"""``mmspec-eval judge``: have a model grade a run's open answers, as LLaVA-Bench and MM-Vet do."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmspec_evals.errors import PlanError
from mmspec_evals.judge.endpoint import Judge
from mmspec_evals.judge.session import Line, judged, review, summary

if TYPE_CHECKING:
    import argparse

HELP = "have a model behind an OpenAI-compatible address grade llava_bench and vqa/mmvet answers"
FAILED = 3  # some reviews failed


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--url", required=True, help="address of the judge, up to /v1")
    parser.add_argument("--model", required=True, help="name of the judge")
    parser.add_argument("--key-env", metavar="VAR", help="environment variable that holds its key")
    parser.add_argument("--methods", help="of these methods only, with commas between")
    parser.add_argument("--temperature", type=float, default=0.2, help="default: 0.2")
    parser.add_argument("--max-tokens", type=int, default=1024, help="of a review (default: 1024)")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds a review may take")


def run(options: argparse.Namespace) -> int:
    """Review what has no review yet, print what all come to; status 3 if some failed."""
    judge = _judge(options)
    wanted = options.methods.split(",") if options.methods else None
    chosen = [(t, m) for t, m in judged(options.run) if wanted is None or m in wanted]
    if not chosen:
        raise PlanError(f"no samples of {options.methods} are there to be judged")
    table: list[Line] = []
    for task, method in chosen:
        for count, made in enumerate(review(options.run, task, method, judge), start=1):
            trouble = f": {made.error or 'no grades in the reply'}" if made.failed else ""
            print(f"{task} {method} {count} {made.question_id}{trouble}", file=sys.stderr)
        table += summary(options.run, task, method, judge.model)
    print("\n".join(_rows(table)))
    return FAILED if any(line.failed for line in table) else 0


def _judge(options: argparse.Namespace) -> Judge:
    key = None
    if options.key_env is not None:
        key = os.environ.get(options.key_env)
        if not key:
            raise PlanError(f"the environment variable {options.key_env} holds no key")
    return Judge(
        url=options.url,
        model=options.model,
        key=key,
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        seconds=options.timeout,
    )


def _rows(table: list[Line]) -> list[str]:
    """A Markdown table; 100 x mean candidate / mean reference is the headline."""
    rows = ["| task | method | category | n | failed | reference | candidate | score |"]
    rows.append("|---|---|---|--:|--:|--:|--:|--:|")
    for line in table:
        numbers = (line.reference, line.candidate, line.headline)
        told = ["n/a" if number is None else f"{number:.2f}" for number in numbers]
        cells = [line.task, line.method, line.category, str(line.n), str(line.failed), *told]
        rows.append(f"| {' | '.join(cells)} |")
    return rows
