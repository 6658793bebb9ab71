"""The twelve tasks of InfiniteBench, from its own files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmspec_evals.doc import Doc
from mmspec_evals.metrics.infinitebench_names import SPELLINGS
from mmspec_evals.task import Corpus, Task, Want
from mmspec_evals.tasks.infinitebench import rows, templates
from mmspec_evals.tasks.infinitebench.marks import Marks
from mmspec_evals.tasks.infinitebench.wording import worded

if TYPE_CHECKING:
    from mmspec_evals.doc import Part
    from mmspec_evals.task import Style
    from mmspec_evals.tasks.infinitebench.rows import Question

OPEN = Path("completion")  # as --prompts: our own words, for models that continue a text
SIDECAR = "SYNTHETIC.json"
NOT_OFFICIAL = "made by our own generators: no InfiniteBench score"
MAX_NEW_TOKENS = {
    "passkey": 6,
    "number_string": 12,
    "kv_retrieval": 50,
    "longbook_sum_eng": 1200,
    "longbook_qa_eng": 40,
    "longbook_choice_eng": 40,
    "longbook_qa_chn": 40,
    "longdialogue_qa_eng": 40,
    "math_find": 3,
    "math_calc": 30000,
    "code_run": 5,
    "code_debug": 5,
}
_LONG = ("longbook_sum_eng", "math_calc")  # answers long enough to see decoding in


@dataclass(frozen=True, slots=True)
class Loader:
    """Reads one task (called as a function)."""

    task: str

    def __call__(self, want: Want) -> Corpus:
        """Documents from the user's files, in our wording or in that of ``want.prompts``.

        Raises:
            DataError: files or templates are missing or not what they should be.
        """
        own = want.prompts is None or (want.prompts == OPEN and not OPEN.exists())
        official = None if own or want.prompts is None else templates.read(want.prompts)
        style: Style = "chat" if want.prompts is None else "completion"
        style = official.style if official else style
        table, found = rows.read(want.data, self.task)
        shown = found if want.limit is None else found[: want.limit]
        docs = []
        for row in shown:
            parts = official.fill(self.task, row) if official else worded(self.task, row, style)
            docs.append(document(row, parts, style, official.system if official else None))
        made = is_made(Path(table.path), found)
        return Corpus(
            docs=tuple(docs),
            kind="synthetic" if made else "official",
            path=table.path,
            sha256=table.sha256,
            rows=len(found),
            prompts="official" if official else "own",
            note=_note(official, made),
        )


def document(
    row: Question, parts: tuple[Part, ...], style: Style, system: str | None = None
) -> Doc:
    """A row with its prompt; rows on the same context are of one cluster."""
    context = hashlib.sha256(row.context.encode("utf-8", "surrogatepass")).hexdigest()
    options = {"options": list(row.options)} if row.options else {}
    return Doc(
        id=row.id,
        turns=(parts,),
        target=row.label,
        cluster=context[:16],
        system=system,
        fields={"style": style, **dict(row.made), **options},
    )


def is_made(path: Path, found: list[Question]) -> bool:
    """Whether a file holds rows of our own generators."""
    folder = path if path.is_dir() else path.parent
    return any(row.made for row in found) or (folder / SIDECAR).is_file()


def _note(official: templates.Templates | None, made: bool) -> str:
    told = [NOT_OFFICIAL] if made else []
    if official is not None:
        told.append(f"templates {official.family} of {official.path}, sent as {official.style}")
    return "; ".join(told)


def _task(name: str) -> Task:
    marks = Marks(name)
    return Task(
        name=f"infinitebench/{name}",
        version=1,
        profile="both" if name in _LONG else "quality",
        style="chat",
        max_new_tokens=MAX_NEW_TOKENS[name],
        metrics=marks.metrics,
        load=Loader(name),
        score=marks,
        data="infinitebench",
        aliases=tuple(
            spelling
            for other in (name, *SPELLINGS[name])
            for spelling in ((other, f"infinitebench_{other}") if "." not in other else (other,))
        ),
    )


TASKS = tuple(_task(name) for name in SPELLINGS)
