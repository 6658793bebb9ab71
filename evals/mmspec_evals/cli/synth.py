"""``mmspec-eval synth``: benchmark files of our own, of any prompt length."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmspec_evals.errors import DataError, PlanError
from mmspec_evals.running.settings import lengths, words
from mmspec_evals.tasks.infinitebench.generate import GENERATORS
from mmspec_evals.tasks.infinitebench.write import write

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

HELP = "write synthetic files in a benchmark's shape"


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("suite", choices=("infinitebench",))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tasks", default=",".join(GENERATORS), help="(all that can be made)")
    parser.add_argument("--tokens", default="1k", metavar="4k,16k", help="of a whole prompt (1k)")
    parser.add_argument("--depths", type=int, default=11, help="places from first to last (11)")
    parser.add_argument("--per-depth", type=int, default=1, metavar="N", help="rows each (1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--tokenizer", default="nano", metavar="PATH", help="what counts tokens (nano)"
    )


def run(options: argparse.Namespace) -> int:
    """Write the files and say where they are."""
    tasks = words(options.tasks)
    strange = sorted(set(tasks) - set(GENERATORS))
    if strange or not tasks:
        raise PlanError(f"cannot make {', '.join(strange)}; can make: {', '.join(GENERATORS)}")
    if options.depths < 1 or options.per_depth < 1 or options.seed < 0:
        raise PlanError("--depths and --per-depth are at least 1, --seed at least 0")
    for path in write(
        options.out,
        tasks,
        lengths(options.tokens),
        (options.depths, options.per_depth),
        options.seed,
        _counter(options.tokenizer),
        {"tokenizer": options.tokenizer},
    ):
        print(path)
    print(f"read them with: --data infinitebench_synth={options.out}")
    return 0


def _counter(path: str) -> Callable[[str], int]:
    from transformers import AutoTokenizer  # noqa: PLC0415  # takes seconds

    from mmspec.model.load import locate  # noqa: PLC0415  # loads torch

    try:
        tokenizer = AutoTokenizer.from_pretrained(locate(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} holds no tokenizer: {error}") from error

    def count(text: str) -> int:
        return len(tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"])

    return count
