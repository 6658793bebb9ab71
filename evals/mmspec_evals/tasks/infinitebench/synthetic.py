"""Six of InfiniteBench's tasks with rows of our own, named as such, at any prompt length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from mmspec_evals.errors import DataError
from mmspec_evals.task import Corpus, Task, Want
from mmspec_evals.tasks import synthetic
from mmspec_evals.tasks.infinitebench import generate, rows
from mmspec_evals.tasks.infinitebench.marks import Marks
from mmspec_evals.tasks.infinitebench.official import NOT_OFFICIAL, document, is_made

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec_evals.doc import Doc
    from mmspec_evals.tasks.infinitebench.rows import Question

DOCUMENTS = 20  # made when the run names no limit
MAX_NEW_TOKENS = {
    "passkey": 24,
    "number_string": 32,
    "kv_retrieval": 48,
    "math_find": 16,
    "math_calc": 30000,
    "code_run": 16,
}


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the documents of one task, or reads those made before (called as a function)."""

    task: str

    def __call__(self, want: Want) -> Corpus:
        """Documents of the wished lengths, depths from 0 to 1.

        Raises:
            DataError: a length is too short, or the user's file was not made by us.
        """
        if want.data is not None:
            return self._read(want.data, want)
        lengths = want.tokens or (generate.TOKENS,)
        wanted = DOCUMENTS if want.limit is None else want.limit
        grid = (ceil(wanted / len(lengths)), 1)
        made = list(generate.make_rows(self.task, lengths, grid, want.seed, want.count))
        found = rows.questions(self.task, made[:wanted], "made rows")
        return synthetic.corpus((self._doc(row, want.count) for row in found), NOT_OFFICIAL)

    def _read(self, path: Path, want: Want) -> Corpus:
        table, found = rows.read(path, self.task)
        if not is_made(Path(table.path), found):
            raise DataError(f"{table.path} is not of our making: name it as infinitebench=PATH")
        shown = found[: want.limit]
        return Corpus(
            docs=tuple(self._doc(row, want.count) for row in shown),
            kind="synthetic",
            path=table.path,
            sha256=table.sha256,
            rows=len(found),
            note=NOT_OFFICIAL,
        )

    def _doc(self, row: Question, count: Callable[[str], int]) -> Doc:
        doc = document(row, generate.prompt(self.task, row), "chat")
        if self.task != "math_calc":
            return doc
        room = min(MAX_NEW_TOKENS[self.task], count(str(row.label)) + 16)
        return replace(doc, fields={**doc.fields, "max_new_tokens": room})


def _task(name: str) -> Task:
    marks = Marks(name)
    return Task(
        name=f"infinitebench_synth/{name}",
        version=1,
        profile="both" if name == "math_calc" else "quality",
        style="chat",
        max_new_tokens=MAX_NEW_TOKENS[name],
        metrics=marks.metrics,
        load=Maker(name),
        score=marks,
    )


TASKS = tuple(_task(name) for name in generate.GENERATORS)
