"""Spec-Bench: 480 prompts of six kinds on which drafting methods are compared; no marks.

The six are tasks of their own, ``spec_bench_all`` is all of them in one. ``speed_bench`` reads
SPEED-Bench, or any JSONL of ``turns``.
``spec_bench_mini`` is a small set of our own words, of the same shape, that comes with the package.
"""

from __future__ import annotations

import hashlib
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING

from mmspec_evals.data import lines, official, turns
from mmspec_evals.errors import DataError
from mmspec_evals.task import Corpus, Task

if TYPE_CHECKING:
    from mmspec_evals.doc import Doc
    from mmspec_evals.task import Want

CONVERSATION = frozenset(
    {"writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"}
)
"""Categories of MT-Bench, which together are one kind."""

KINDS = ("mt_bench", "translation", "summarization", "qa", "math_reasoning", "rag")
CAP = 1024
MINI_CAP = 256
NAMES = ("question", "spec_bench", "questions", "test", "speed_bench")
_MINI = "spec_bench_mini.jsonl"


def kind(category: str | None) -> str | None:
    """The kind a category belongs to; its own name where it is no conversation.

    >>> kind("roleplay"), kind("rag")
    ('mt_bench', 'rag')
    """
    return "mt_bench" if category in CONVERSATION else category


def load(want: Want, only: str | None, data: str = "spec_bench") -> Corpus:
    """Documents of one kind, or of all.

    Args:
        data: name of the file in ``--data``.

    Raises:
        DataError: no file, or none of that kind in it.
    """
    table = official.wanted(want, data, NAMES)
    found = [doc for doc in turns.docs(table.rows, table.path) if _is(doc, only)]
    if not found:
        raise DataError(f"{table.path} has no rows of the kind {only}")
    return Corpus(
        docs=tuple(turns.in_turn(found, want.limit)),
        kind="official",
        path=table.path,
        sha256=table.sha256,
        rows=len(table.rows),
        note="" if want.limit is None else "a limit takes its rows from all categories in turn",
    )


def load_mini(want: Want) -> Corpus:
    """The packaged prompts: six kinds, four of each."""
    data = resources.files("mmspec_evals.data").joinpath(_MINI).read_bytes()
    found = turns.docs(lines.parse(data, _MINI), _MINI)
    return Corpus(
        docs=tuple(turns.in_turn(found, want.limit)),
        kind="mini",
        path=None,
        sha256=hashlib.sha256(data).hexdigest(),
        rows=len(found),
        note="our own short prompts in the shape of Spec-Bench; not comparable with it",
    )


def unmarked(answers: tuple[str, ...], doc: Doc) -> dict[str, float]:
    """Nothing: the benchmark compares speed."""
    return {}


def _is(doc: Doc, only: str | None) -> bool:
    return only is None or kind(doc.fields.get("category")) == only


def _task(name: str, only: str | None, data: str = "spec_bench") -> Task:
    return Task(
        name=name,
        version=1,
        profile="speed",
        style="chat",
        max_new_tokens=CAP,
        metrics=(),
        load=partial(load, only=only, data=data),
        score=unmarked,
        data=data,
    )


TASKS = (
    *(_task(f"spec_bench/{one}", one) for one in KINDS),
    _task("spec_bench_all", None),
    _task("speed_bench", None, data="speed_bench"),
    Task(
        name="spec_bench_mini",
        version=1,
        profile="speed",
        style="chat",
        max_new_tokens=MINI_CAP,
        metrics=(),
        load=load_mini,
        score=unmarked,
    ),
)
