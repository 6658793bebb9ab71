"""``mmspec bench serve`` and ``mmspec bench sweep``: load on a server, and what it made of it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.progress import Progress

from mmspec.core.errors import MmspecError
from mmspec_evals.errors import EvalError, PlanError
from mmspec_evals.serving.blocks import blocks
from mmspec_evals.serving.client import Asking
from mmspec_evals.serving.launch import launched
from mmspec_evals.serving.run import Plan, bench, client, first_model
from mmspec_evals.serving.summary import goals
from mmspec_evals.serving.sweep import curve, sweep, table
from mmspec_evals.serving.workload import workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmspec_evals.serving.job import Job

WARM = 999_999  # the place among a seed's examples from which warm-up requests come


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 well, 2 wrong usage, 3 some requests failed."""
    options = parser().parse_args(argv)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
    try:
        with _server(options) as base_url:
            return asyncio.run(_COMMANDS[options.command](options, base_url))
    except (EvalError, MmspecError) as error:
        sys.stderr.write(f"mmspec bench: {error}\n")
        return 2


def parser() -> argparse.ArgumentParser:
    """The flags of both commands."""
    found = argparse.ArgumentParser(prog="mmspec bench", description=__doc__)
    commands = found.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="one load")
    serve.add_argument("--request-rate", type=float, default=math.inf, help="a second, or inf")
    serve.add_argument("--max-concurrency", type=int)
    several = commands.add_parser("sweep", help="several loads, one after another")
    levels = several.add_mutually_exclusive_group(required=True)
    levels.add_argument("--rates", type=_floats, help="such as 1,2,4")
    levels.add_argument("--concurrencies", type=_integers, help="such as 1,2,4,8")
    several.add_argument("--speculation", default="default", help="arms: on,off")
    for one in (serve, several):
        _shared(one)
    return found


def _shared(one: argparse.ArgumentParser) -> None:
    where = one.add_mutually_exclusive_group(required=True)
    where.add_argument("--base-url", help="a running server, http://host:port/v1")
    where.add_argument("--model", help="nano, a folder or a hub id: serve it for the benchmark")
    one.add_argument("--serve-config", help="TOML file of the server started by --model")
    one.add_argument("--served-name", help="the model's name; default: the server's first")
    one.add_argument("--api-key")
    one.add_argument("--endpoint", choices=("chat", "completions"), default="chat")
    one.add_argument("--workload", default="text", help="text, image, document or custom:FILE")
    one.add_argument("--num-prompts", type=int, default=32)
    one.add_argument("--input-len", type=int, help="about so many tokens (text, document)")
    one.add_argument("--output-len", type=int, help="most new tokens (default 128)")
    one.add_argument("--ignore-eos", action="store_true", help="go on to the limit")
    one.add_argument("--temperature", type=float, default=0.0)
    one.add_argument("--seed", type=int, default=0, help="of examples, arrivals and sampling")
    one.add_argument("--goodput", nargs="+", default=[], metavar="ttft:500")
    one.add_argument("--percentiles", type=_floats, default=(50.0, 90.0, 99.0))
    one.add_argument("--warmups", type=int, default=1)
    one.add_argument("--timeout", type=float, default=600.0, help="seconds of silence")
    one.add_argument("--save-result", type=Path, metavar="FILE.json")


@contextlib.contextmanager
def _server(options: argparse.Namespace) -> Iterator[str]:
    if options.base_url is not None:
        yield options.base_url
        return
    flags = ["--config", options.serve_config] if options.serve_config else []
    sys.stderr.write(f"starting mmspec serve --model {options.model}\n")
    with launched(options.model, flags) as base_url:
        yield base_url


async def _serve(options: argparse.Namespace, base_url: str) -> int:
    jobs, plan = _jobs(options, 0), _plan(options)
    plan = replace(plan, rate=options.request_rate, concurrency=options.max_concurrency)
    async with client(base_url, options.timeout, options.api_key) as http:
        asking = await _asking(options, http)
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("requests", total=len(jobs))
            result = await bench(
                http, asking, jobs, plan, _warm(options), lambda _: bar.advance(task)
            )
    sys.stdout.write(blocks(result, plan.percentiles))
    _tell_errors(result)
    _save(options, result | _about(options))
    return 3 if result["failed"] else 0


async def _sweep(options: argparse.Namespace, base_url: str) -> int:
    plan = _plan(options)
    if options.rates is not None:
        plans, unit = [replace(plan, rate=rate) for rate in options.rates], "rate"
    else:
        plans = [replace(plan, concurrency=count) for count in options.concurrencies]
        unit = "concurrency"
    async with client(base_url, options.timeout, options.api_key) as http:
        asking = await _asking(options, http)
        cells = await sweep(
            http,
            _arms(options.speculation, asking),
            plans,
            lambda cell: _jobs(options, cell * options.num_prompts) if cell else _warm(options),
            _tell_cell,
        )
    sys.stdout.write(table(cells, unit) + "\n" + curve(cells, unit))
    _save(options, {"unit": unit, "cells": cells} | _about(options))
    return 3 if any(cell["failed"] for cell in cells) else 0


def _arms(words: str, asking: Asking) -> dict[str, Asking]:
    arms = {}
    for word in words.split(","):
        if word not in ("on", "off", "default"):
            raise PlanError(f"--speculation takes on, off or both, not {word!r}")
        extra = {} if word == "default" else {"speculation": {"enabled": word == "on"}}
        arms[word] = replace(asking, extra={**asking.extra, **extra})
    return arms


async def _asking(options: argparse.Namespace, http: Any) -> Asking:
    return Asking(
        model=options.served_name or await first_model(http),
        chat=options.endpoint == "chat",
        temperature=options.temperature,
        seed=options.seed if options.temperature else None,
        ignore_eos=options.ignore_eos,
    )


def _plan(options: argparse.Namespace) -> Plan:
    if not all(0 <= percentile <= 100 for percentile in options.percentiles):
        raise PlanError("--percentiles lie between 0 and 100")
    return Plan(
        seed=options.seed,
        percentiles=options.percentiles,
        objectives=goals(options.goodput) or None,
    )


def _jobs(options: argparse.Namespace, skip: int, count: int | None = None) -> list[Job]:
    jobs = workload(
        options.workload,
        options.num_prompts if count is None else count,
        seed=options.seed,
        skip=skip,
        input_len=options.input_len,
        output_len=options.output_len,
    )
    if options.endpoint == "completions" and any(job.prompt is None for job in jobs):
        raise PlanError("--endpoint completions takes text alone: no pictures, no conversations")
    return jobs


def _warm(options: argparse.Namespace) -> list[Job]:
    return _jobs(options, WARM, options.warmups) if options.warmups > 0 else []


def _about(options: argparse.Namespace) -> dict[str, Any]:
    names = ("workload", "input_len", "output_len", "temperature", "endpoint", "warmups")
    return {name: getattr(options, name) for name in names} | {"backend": "mmspec bench"}


def _tell_errors(result: dict[str, Any]) -> None:
    for error in sorted({error for error in result["errors"] if error})[:10]:
        sys.stderr.write(f"{result['errors'].count(error)} failed: {error}\n")


def _tell_cell(cell: dict[str, Any]) -> None:
    rate = cell["output_throughput"]
    sys.stderr.write(f"{cell['level']:g} {cell['speculation']}: {rate:.1f} tok/s\n")
    _tell_errors(cell)


def _save(options: argparse.Namespace, result: dict[str, Any]) -> None:
    if options.save_result is not None:
        options.save_result.parent.mkdir(parents=True, exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(result), indent=2)
        options.save_result.write_bytes(data + b"\n")


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split(","))


def _integers(text: str) -> tuple[int, ...]:
    found = tuple(int(word) for word in text.split(","))
    if min(found) < 1:
        raise ValueError(text)
    return found


_COMMANDS = {"serve": _serve, "sweep": _sweep}
