"""LLaVA-Bench: open questions about COCO pictures and pictures in the wild.

Its own score is a judge's (``mmspec-eval judge``). Without one there is only the overlap with the
reference answers, which is called ``reference_overlap`` and is not LLaVA-Bench's score.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mmspec_evals.data.pictures import identity, pictures
from mmspec_evals.data.rows import find, read_rows
from mmspec_evals.doc import Doc, Text
from mmspec_evals.errors import DataError
from mmspec_evals.metrics.rouge_lsum import best_rouge_lsum
from mmspec_evals.task import Corpus, Metric, Task
from mmspec_evals.tasks.vqa_rows import identifier, joint_sha, question

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mmspec_evals.data.rows import Table
    from mmspec_evals.task import Want

Row = dict[str, Any]
CAP = 1024  # tokens of an answer, as in LLaVA's own script
_COCO = "COCO_val2014_"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One of the two benchmarks: stems of its files, and where pictures may lie."""

    name: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    contexts: tuple[str, ...]
    folders: tuple[str, ...]
    aliases: tuple[str, ...]


PARTS = (
    _Part(
        name="coco",
        questions=("qa90_questions", "train", "test"),
        answers=("qa90_gpt4_answer", "answers_gpt4"),
        contexts=("caps_boxes_coco2014_val_80", "context"),
        folders=("images", "val2014"),
        aliases=("llava_bench_coco",),
    ),
    _Part(
        name="wild",
        questions=("questions", "train", "test"),
        answers=("answers_gpt4",),
        contexts=("context",),
        folders=("images",),
        aliases=("llava_in_the_wild", "llava_bench_wild"),
    ),
)


def _load(part: _Part, want: Want) -> Corpus:
    if want.data is None:
        raise DataError(
            f"llava_bench/{part.name} needs its files: --data llava_bench/{part.name}=PATH, a "
            f"folder with {part.questions[0]}.jsonl, {part.answers[0]}.jsonl, "
            f"{part.contexts[0]}.jsonl and images/, or a copy of the hub's data set (train.parquet)"
        )
    inner = want.data / part.name
    path = inner if inner.is_dir() else want.data
    table = read_rows(path, part.questions)
    root = path if path.is_dir() else path.parent
    answers, contexts = (_beside(root, names, table) for names in (part.answers, part.contexts))
    told = {identifier(row): row["text"] for row in answers.rows} if answers else {}
    shown = {str(row["image"]): _context(row) for row in contexts.rows} if contexts else {}
    rows = table.rows[: want.limit]
    docs = tuple(_docs(part, rows, root, told, shown))
    tables = [one for one in (table, answers, contexts) if one is not None]
    missing = sum(doc.target is None for doc in docs)
    note = "the benchmark's own score needs a judge; reference_overlap is not it"
    return Corpus(
        docs=docs,
        kind="official",
        path=str(path),
        sha256=table.sha256 if len(tables) == 1 else joint_sha(tables),
        rows=len(table.rows),
        prompts="official",
        note=note + (f"; {missing} questions have no reference answer" if missing else ""),
    )


def _beside(root: Path, names: tuple[str, ...], questions: Table) -> Table | None:
    """A further file, if it is there: answers belong to questions by id, never by their order."""
    for name in names:
        files = find(root, [name])
        if files and all(str(file) != questions.path for file in files):
            return read_rows(root, [name])
    return None


def _docs(
    part: _Part, rows: list[Row], root: Path, told: dict[str | None, str], shown: dict[str, str]
) -> Iterator[Doc]:
    for index, row in enumerate(rows):
        name = identifier(row) or str(index)
        value = row.get("image")
        if isinstance(value, str):
            value = _file(value, root, part.folders)
        seen = pictures(value, root, part.folders, f"{part.name}-{name}")
        yield Doc(
            id=name,
            turns=((*seen, Text(question(row).strip())),),
            target=row.get("gpt_answer") or told.get(name),
            cluster=str(row.get("image_id") or identity(row.get("image")) or index),
            fields={
                "category": str(row.get("category", "all")),
                "question": question(row),
                "context": _context(row) or shown.get(str(row.get("image")), ""),
            },
        )


def _file(name: str, root: Path, folders: tuple[str, ...]) -> str:
    """COCO's own name of a picture where the file goes by it."""
    named = any((root / folder / f"{_COCO}{name}").is_file() for folder in ("", *folders))
    return f"{_COCO}{name}" if named and "/" not in name else name


def _context(row: Mapping[str, Any]) -> str:
    """The picture in words: its captions, then its things with their boxes."""
    captions = row.get("caption") or row.get("captions") or []
    lines = [captions] if isinstance(captions, str) else list(captions)
    things = row.get("instances") or []
    lines += [f"{thing['category']}: {thing['bbox']}" for thing in things]
    return "\n".join(lines)


def _overlap(answers: tuple[str, ...], doc: Doc) -> Mapping[str, float]:
    if doc.target is None:
        return {}
    return {"reference_overlap": best_rouge_lsum(answers[0], [doc.target])}


TASKS = tuple(
    Task(
        name=f"llava_bench/{part.name}",
        version=1,
        profile="both",
        style="chat",
        max_new_tokens=CAP,
        metrics=(Metric("reference_overlap"),),
        load=partial(_load, part),
        score=_overlap,
        data="llava_bench",
        aliases=part.aliases,
        modality="image",
    )
    for part in PARTS
)
