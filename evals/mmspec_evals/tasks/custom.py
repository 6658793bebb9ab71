"""The user's own prompts: ``--tasks custom --data custom=FILE.jsonl``.

A row holds ``prompt``, ``turns``, ``messages`` or ``conversations``; if it likes ``images`` (or
``image_files``), ``system``, ``answer`` (or ``answers``, ``reference``), ``max_tokens``, ``style``,
``category``, ``cluster``, ``id``. Files of vLLM's custom data sets and of ShareGPT are such rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmspec_evals.data import official
from mmspec_evals.data.free import document
from mmspec_evals.data.turns import IDS, in_turn
from mmspec_evals.errors import DataError
from mmspec_evals.metrics.longbench import qa_f1
from mmspec_evals.task import Corpus, Metric, Task

if TYPE_CHECKING:
    from mmspec_evals.doc import Doc
    from mmspec_evals.task import Want


def load(want: Want) -> Corpus:
    """All rows; a limit takes them from all categories in turn.

    Raises:
        DataError: no file, or a row that says nothing; gives its number, from 1.
    """
    table = official.wanted(want, "custom", ("custom", "data", "test", "train"))
    assert want.data is not None
    folder = want.data if want.data.is_dir() else want.data.parent
    docs = []
    for number, (name, row) in enumerate(official.labelled(table, IDS, None), start=1):
        try:
            docs.append(document(name, row, folder))
        except DataError as error:
            raise DataError(f"{table.path}, row {number}: {error}") from error
    return Corpus(
        docs=tuple(in_turn(docs, want.limit)),
        kind="custom",
        path=table.path,
        sha256=table.sha256,
        rows=len(table.rows),
    )


def score(answers: tuple[str, ...], doc: Doc) -> dict[str, float]:
    """Agreement of the last answer with the best reference; nothing where there is none.

    ``exact`` asks for the same words whatever their case and spacing, ``f1`` how many are shared.
    """
    listed = doc.target if isinstance(doc.target, list) else [doc.target]
    truths = [str(truth) for truth in listed if truth is not None]
    if not truths:
        return {}
    said = answers[-1]
    return {
        "exact": float(any(_plain(said) == _plain(truth) for truth in truths)),
        "f1": max(qa_f1(said, truth) for truth in truths),
    }


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


TASKS = (
    Task(
        name="custom",
        version=1,
        profile="both",
        style="chat",
        max_new_tokens=256,
        metrics=(Metric("exact"), Metric("f1")),
        load=load,
        score=score,
        data="custom",
    ),
)
