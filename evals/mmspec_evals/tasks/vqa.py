"""Questions about pictures: fourteen benchmarks, one loader.

In the ``quality`` profile a prompt asks for a short answer, marked by the benchmark's own rules.
In the ``speed`` profile it asks for an explanation of up to 512 tokens, which those rules cannot
mark: then there are no scores. A number never mixes the two.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mmspec_evals.data.pictures import identity, pictures
from mmspec_evals.doc import Doc, Text
from mmspec_evals.errors import DataError
from mmspec_evals.task import Corpus, Task
from mmspec_evals.tasks import vqa_marks as marks
from mmspec_evals.tasks.vqa_rows import identifier, question, read
from mmspec_evals.tasks.vqa_sets import BENCHMARKS, EXPLAIN, Benchmark, reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from mmspec_evals.task import Scored, Want

EXPLAINED = 512  # tokens an explanation may have
_IMAGES = ("image", "image_path", "imgname", "imagename", "filename", "image_name", "file_name")
_CLUSTERS = ("image_id", "imageId", "docId")
_INSTRUCTION = re.compile(r"\n+Answer (the question|with the option)[^\n]*$")
_MME_REQUEST = " Please answer yes or no."


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A question as it is put, and whether its wording is the benchmark's own."""

    text: str
    official: bool


def _load(benchmark: Benchmark, want: Want) -> Corpus:
    path = _place(benchmark, want)
    table = read(
        path,
        benchmark.files,
        parts=benchmark.parts,
        mapping=benchmark.mapping,
        answers=benchmark.annotations,
        pictures=benchmark.shown,
    )
    kept = [row for row in table.rows if _belongs(benchmark, row)]
    rows = _limited(benchmark, kept, want.limit)
    root = path if path.is_dir() else path.parent
    prompts = [_prompt(benchmark, row, want) for row in rows]
    docs = tuple(_docs(benchmark, rows, prompts, root, want))
    official = bool(prompts) and all(prompt.official for prompt in prompts)
    return Corpus(
        docs=docs,
        kind="official",
        path=table.path,
        sha256=table.sha256,
        rows=len(kept),
        prompts="official" if official else "own",
        note=_note(benchmark, docs, len(table.rows) - len(kept), want),
    )


def _place(benchmark: Benchmark, want: Want) -> Path:
    """The user's file or folder; within a folder of all benchmarks, the one of this name."""
    name = benchmark.name
    if want.data is None:
        stems = [stem for stem, _ in benchmark.parts] or list(benchmark.files)
        raise DataError(
            f"vqa/{name} needs its files: --data {name}=PATH, a folder with {stems[0]}.json(l) or "
            f"{benchmark.files[-1]}.parquet (or: {', '.join(benchmark.files)}), and pictures "
            f"in the rows or in {', '.join(benchmark.folders)} of that folder"
        )
    inner = want.data / name
    return inner if inner.is_dir() and want.data.name != name else want.data


def _belongs(benchmark: Benchmark, row: Mapping[str, Any]) -> bool:
    """Whether a row is of the benchmark as it is usually run: about a picture, of the test."""
    if benchmark.mark is marks.scienceqa:
        return _image(benchmark, row) is not None and row.get("split", "test") == "test"
    return row.get("data_type", "image") == "image" if benchmark.name == "seedbench" else True


def _limited(
    benchmark: Benchmark, rows: list[dict[str, Any]], limit: int | None
) -> list[dict[str, Any]]:
    """The first rows; with ``whole``, those whose picture keeps all of its questions."""
    if limit is None or limit >= len(rows):
        return rows
    if not benchmark.whole:
        return rows[:limit]
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(_cluster(benchmark, row, index), []).append(index)
    taken: list[int] = []
    for group in groups.values():
        if len(taken) + len(group) > limit:
            break
        taken += group
    return [rows[index] for index in sorted(taken)]


def _docs(
    benchmark: Benchmark,
    rows: list[dict[str, Any]],
    prompts: Iterable[_Prompt],
    root: Path,
    want: Want,
) -> Iterator[Doc]:
    seen: Counter[str] = Counter()
    for index, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        name = identifier(row) or str(index)
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name}#{seen[name]}"
        value = _image(benchmark, row)
        if benchmark.mark is marks.scienceqa and isinstance(value, str):
            value = f"{identifier(row)}/{value}"
        shown = pictures(value, root, benchmark.folders, f"{benchmark.name}-{name}")
        yield Doc(
            id=name,
            turns=((*shown, Text(prompt.text)),),
            target=reference(benchmark, row),
            cluster=_cluster(benchmark, row, index),
            fields=_fields(row) | ({"max_new_tokens": EXPLAINED} if _long(benchmark, want) else {}),
        )


def _prompt(benchmark: Benchmark, row: Mapping[str, Any], want: Want) -> _Prompt:
    """The question with its options, and what is asked for."""
    text = question(dict(row)).removeprefix("<image>\n").strip().removesuffix(_MME_REQUEST)
    bare = _INSTRUCTION.sub("", text)
    if bare != text and not _long(benchmark, want):
        return _Prompt(text, official=True)
    if benchmark.mark in (marks.textvqa, marks.vizwiz):
        bare = bare.capitalize()  # as both of its usual runners do, lower-casing the rest
    if hint := row.get("hint"):
        bare = f"{hint}\n{bare}"
    options = [f"{chr(65 + at)}. {told}" for at, told in enumerate(_choices(row))]
    tail = EXPLAIN if _long(benchmark, want) else benchmark.tail
    return _Prompt("\n".join([bare, *options]) + tail, official=False)


def _choices(row: Mapping[str, Any]) -> list[str]:
    if isinstance(row.get("choices"), list):
        return list(row["choices"])
    return [row[key] for key in ("choice_a", "choice_b", "choice_c", "choice_d") if row.get(key)]


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """What marks and reports need of a row."""
    fields: dict[str, Any] = {}
    kind = row.get("category") or row.get("type") or row.get("capability")
    if kind is not None:
        fields["category"] = {"human_test": "human", "augmented_test": "augmented"}.get(
            str(kind), str(kind)
        )
    if choices := _choices(row):
        fields["choices"] = choices
    if "set_id" in row:
        fields["set"] = [str(row.get(key)) for key in ("category", "subcategory", "set_id")]
        fields |= {key: str(row.get(key)) for key in ("question_id", "figure_id")}
    fields["question"] = question(dict(row))
    return fields


def _image(benchmark: Benchmark, row: Mapping[str, Any]) -> Any:
    """The row's picture as it stands there, or its file by the benchmark's way of naming."""
    if str(row.get("visual_input")) == "0":
        return None
    for name in (*_IMAGES, "data_id"):
        if row.get(name) not in (None, ""):
            return row[name]
    try:
        return benchmark.named.format(**row) or None
    except (KeyError, ValueError):
        return None


def _cluster(benchmark: Benchmark, row: Mapping[str, Any], index: int) -> str:
    """What rows about the same picture share."""
    if "set_id" in row:
        return "/".join(str(row.get(key)) for key in ("category", "subcategory", "set_id"))
    if benchmark.whole:
        return identifier(dict(row)) or str(index)
    known = next((str(row[key]) for key in _CLUSTERS if row.get(key) is not None), None)
    return known or identity(_image(benchmark, row)) or str(index)


def _long(benchmark: Benchmark, want: Want) -> bool:
    """Whether explanations are asked for: what is long anyway stays as it is."""
    return want.profile == "speed" and benchmark.mark is not marks.overlap


def _note(benchmark: Benchmark, docs: tuple[Doc, ...], dropped: int, want: Want) -> str:
    notes = []
    if dropped:
        notes.append(f"{dropped} rows without a picture or of another split left out")
    if unknown := sum(doc.target is None for doc in docs):
        notes.append(f"{unknown} of {len(docs)} documents have no answer in the file: not marked")
    if _long(benchmark, want):
        notes.append("explanations asked for: answers are not marked")
    elif benchmark.mark is marks.overlap:
        notes.append("the benchmark's own score needs a judge; reference_overlap is not it")
    return "; ".join(notes)


def _score(benchmark: Benchmark, answers: tuple[str, ...], doc: Doc) -> Mapping[str, float]:
    long = benchmark.mark is not marks.overlap and "max_new_tokens" in doc.fields
    return {} if long or doc.target is None else benchmark.mark(answers[0].strip(), doc)


def _sums(benchmark: Benchmark, scored: list[Scored]) -> Mapping[str, float]:
    marked = [row for row in scored if row.scores]
    return benchmark.sums(marked) if benchmark.sums and marked else {}


def _task(benchmark: Benchmark) -> Task:
    return Task(
        name=f"vqa/{benchmark.name}",
        version=1,
        profile="both",
        style="chat",
        max_new_tokens=benchmark.tokens,
        metrics=benchmark.metrics,
        load=partial(_load, benchmark),
        score=partial(_score, benchmark),
        aggregate=partial(_sums, benchmark) if benchmark.sums else None,
        data=benchmark.name,
        aliases=benchmark.aliases,
        modality="image",
    )


TASKS = tuple(_task(benchmark) for benchmark in BENCHMARKS)
