"""The ``mmspec-eval`` command: every module of this folder is a subcommand of its name.

A subcommand module has ``HELP`` (one line), ``options(parser)`` and ``run(options) -> status``.
Statuses: 0 well, 2 wrong usage, 3 some samples failed, 4 the losslessness gate failed.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from typing import TYPE_CHECKING, Protocol, cast

from mmspec.core.errors import MmspecError
from mmspec_evals.errors import EvalError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Command(Protocol):
    """What a subcommand module offers."""

    HELP: str

    def options(self, parser: argparse.ArgumentParser) -> None:
        """Declare the flags."""
        ...

    def run(self, options: argparse.Namespace) -> int:
        """Do it; the result is the process's status."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="mmspec-eval", description="Evaluate in pairs.")
    commands = parser.add_subparsers(dest="command", required=True)
    modules: dict[str, Command] = {}
    for found in pkgutil.iter_modules(__path__):
        name = found.name.replace("_", "-")
        modules[name] = cast("Command", importlib.import_module(f"{__name__}.{found.name}"))
        modules[name].options(commands.add_parser(name, help=modules[name].HELP))
    chosen = parser.parse_args(argv)
    try:
        return modules[chosen.command].run(chosen)
    except (EvalError, MmspecError) as error:
        print(f"mmspec-eval: {error}", file=sys.stderr)
        return 2
