"""Requests in a fixed order, for measuring memory: nothing feeds what comes before it.

The stand-in for time is the name: modules of the standard library by theirs, programs and
documents by their number.
"""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from mmspec_evals.registry import find
from mmspec_evals.running.prepare import Preparer
from mmspec_evals.task import Want

from mmspec.core.request import Request, Sampling, Speculation
from mmspec.train.data.source import modules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence as ListOf

    from mmspec.core.request import Prompt
    from mmspec.engine.engine import Engine
    from mmspec.model.processor import Processor

SHOWN = 400  # tokens of a module before the place where the answer goes on
PLACES = 4  # of one module, apart from each other
CAP = 160  # tokens of an answer


class Asked(NamedTuple):
    """A prompt, the module it is out of ("": none), and its place in the order of all modules."""

    name: str
    prompt: Prompt
    module: int = -1


class Told(NamedTuple):
    """A request that was answered: int64 ids, the answer's apart; what it took, and by source."""

    asked: Asked
    answer: np.ndarray
    rounds: int
    emitted: int
    by_source: dict[str, tuple[int, int]]


def long_modules() -> list[tuple[int, Path]]:
    """Modules with room for ``PLACES`` stretches that are apart, with their place among all."""
    size = 2 * PLACES * 4 * (SHOWN + CAP)
    return [(index, path) for index, path in enumerate(modules()) if path.stat().st_size > size]


def code(processor: Processor, count: int, places: int) -> list[Asked]:
    """``count`` requests to go on with code: so many ``places`` each out of modules by name.

    One place: the first lines of every module. More: a developer at work on one code base, module
    after module, at places a quarter of the module apart.
    """
    long, root = long_modules(), Path(sysconfig.get_path("stdlib"))
    wanted = count // places
    chosen = [long[index * len(long) // wanted] for index in range(wanted)]
    asked = []
    for index, path in chosen:
        text = path.read_text(encoding="utf-8", errors="replace")
        for place in range(places):
            start = text.find("\n", len(text) * place // PLACES) + 1 if place else 0
            shown = processor.text(text[start : start + 8 * SHOWN]).ids[:SHOWN]
            name = f"{path.relative_to(root).as_posix()}@{place}"
            asked.append(Asked(name, processor.ids(shown.tolist()), index))
    return asked


def of_task(processor: Processor, task: str, count: int, seed: int) -> list[Asked]:
    """The first turns of a task's documents, in its order."""
    (found,) = find([task])
    preparer = Preparer(processor, 4096)
    want = Want(None, count, seed, (), preparer.count)
    return [Asked(doc.id, preparer.case(found, doc).prompt) for doc in found.load(want).docs]


def requests(processor: Processor, of_code: int, count: int, seed: int) -> dict[str, list[Asked]]:
    """Every kind of request, in order."""
    kinds = {
        "code, across modules": code(processor, of_code, 1),
        "code, within modules": code(processor, of_code, PLACES),
        "programs changed": of_task(processor, "nano_program/change", count, seed),
        "documents, quotes": of_task(processor, "nano_docqa/quote", count, seed),
    }
    for name, asked in kinds.items():
        if len({one.prompt.ids.tobytes() for one in asked}) < len(asked):
            raise SystemExit(f"{name}: a prompt stands there twice")
    return kinds


def answer(
    engine: Engine, asked: ListOf[Asked], speculation: Speculation, temperature: float, seed: int,
    tenant: str = "",
) -> Iterator[Told]:  # fmt: skip
    """The engine's own answers, one after another; what it remembers is in before the next."""
    for index, one in enumerate(asked):
        sampling = Sampling(temperature=temperature, seed=seed + index, max_tokens=CAP)
        engine.submit(Request(one.name, one.prompt, sampling, speculation, tenant))
        ids: list[int] = []
        report = None
        while engine.busy:
            for delta in engine.step():
                if delta.error is not None:
                    raise SystemExit(f"{one.name}: {delta.error}")
                ids += delta.tokens
                report = delta.report or report
        if report is None:
            raise SystemExit(f"{one.name}: no report")
        emitted = round(report.tau * report.rounds)
        yield Told(one, np.array(ids, np.int64), report.rounds, emitted, dict(report.by_source))


def save(path: Path, told: ListOf[Told]) -> None:
    """Answers and what they took; the prompts can be made again."""
    rows = [
        {
            "name": one.asked.name, "answer": one.answer.tolist(), "rounds": one.rounds,
            "emitted": one.emitted, "by_source": one.by_source,
        }
        for one in told
    ]  # fmt: skip
    path.write_text(json.dumps(rows), encoding="utf-8")


def load(path: Path, asked: ListOf[Asked]) -> list[Told]:
    """Answers to just these requests, or an error."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    if [row["name"] for row in rows] != [one.name for one in asked]:
        raise SystemExit(f"{path} answers other requests")
    return [
        Told(one, np.array(row["answer"], np.int64), row["rounds"], row["emitted"],
             {source: (drafted, kept) for source, (drafted, kept) in row["by_source"].items()})
        for one, row in zip(asked, rows, strict=True)
    ]  # fmt: skip
