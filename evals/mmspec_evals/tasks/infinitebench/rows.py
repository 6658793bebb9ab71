"""Rows of InfiniteBench, as its own files, the hub's or our generators have them, made uniform.

The official scorer is strict about the types of labels and files are not: the hub stores numbers as
text, some files hold a list where others hold its only entry. Labels come out as the scorer wants
them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmspec_evals.data.rows import read_rows
from mmspec_evals.errors import DataError
from mmspec_evals.metrics.infinitebench_cases import with_letter
from mmspec_evals.metrics.infinitebench_names import SPELLINGS, official_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mmspec_evals.data.rows import Table

HUB = "xinrongzhang2022/InfiniteBench"
MADE = "made_by"  # field of rows that our own generators wrote


@dataclass(frozen=True, slots=True)
class Question:
    """One row.

    Attributes:
        label: what the official scorer marks against. options: texts of A to D, or nothing.
        made: what a generator says of it (``tokens``, ``depth``); empty for official rows.
    """

    id: str
    context: str
    ask: str
    label: Any
    options: tuple[str, ...] = ()
    made: tuple[tuple[str, Any], ...] = ()


def read(path: Path | None, task: str) -> tuple[Table, list[Question]]:
    """The file's rows of a task.

    Raises:
        DataError: there is no such file (says where to put it), or a row is not what it should be.
    """
    if path is None:
        raise DataError(
            f"InfiniteBench's {task}.jsonl is not bundled: download it from the data set {HUB} of "
            "the Hugging Face hub and name its folder with --data infinitebench=FOLDER, or use "
            "rows of our own: infinitebench_synth"
        )
    if path.is_file() and official_name(path.name.partition(".")[0]) not in {None, task}:
        raise DataError(f"{path} holds rows of another task than {task}; name its folder instead")
    spelt = [name for name in SPELLINGS[task] if "." not in name and not name.endswith("_both")]
    try:
        table = read_rows(path, [task, *spelt])
    except DataError as error:
        raise DataError(f"{error} (data set {HUB} of the Hugging Face hub)") from error
    return table, questions(task, table.rows, table.path)


def questions(task: str, rows: Sequence[dict[str, Any]], where: str) -> list[Question]:
    """Uniform rows; those without an id of their own, or with one twice, are numbered from 0.

    Raises:
        DataError: a row lacks something or its label cannot be read; says which.
    """
    named = [row.get("id") for row in rows]
    unique = None not in named and max(Counter(map(str, named)).values(), default=1) == 1
    found = []
    for number, row in enumerate(rows):
        try:
            found.append(_question(task, row, str(row["id"]) if unique else str(number)))
        except (LookupError, ValueError, TypeError) as error:
            why = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{where}, row {number + 1} of {task}: {why}") from error
    return found


def _question(task: str, row: dict[str, Any], name: str) -> Question:
    context = row["content"] if "content" in row and "context" not in row else row["context"]
    ask = row.get("input") or ""
    if not isinstance(context, str) or not isinstance(ask, str):
        raise TypeError("context and input must be texts")
    options = tuple(map(str, row.get("options") or ())) if task in _CHOICES else ()
    if task in _CHOICES and len(options) != 4:
        raise ValueError(f"a choice has four options, not {len(options)}")
    answer = row["answer"]
    made = tuple((key, row[key]) for key in ("tokens", "depth") if row.get(MADE) and key in row)
    label = with_letter(answer, list(options)) if task in _CHOICES else _LABELS[task](answer)
    return Question(name, context, ask, label, options, made)


def _texts(answer: Any) -> list[str]:
    return [str(text) for text in _listed(answer)]


def _text(answer: Any) -> str:
    return str(_listed(answer)[0])


def _whole(answer: Any) -> list[int]:
    return [int(_listed(answer)[0])]


def _number(answer: Any) -> list[int | float]:
    number = _listed(answer)[0]
    if not isinstance(number, str):
        return [number if isinstance(number, float) else int(number)]
    return [float(number) if "." in number else int(number)]


def _values(answer: Any) -> list[int]:
    values = _listed(answer)
    return [int(value) for value in (values[0] if isinstance(values[0], list) else values)]


def _listed(answer: Any) -> list[Any]:
    values = answer if isinstance(answer, list) else [answer]
    if not values:
        raise ValueError("the answer is empty")
    return values


_CHOICES = ("longbook_choice_eng", "code_debug")
_LABELS: dict[str, Callable[[Any], Any]] = {
    "passkey": _texts,
    "number_string": _texts,
    "kv_retrieval": _text,
    "longbook_sum_eng": _texts,
    "longbook_qa_eng": _texts,
    "longbook_qa_chn": _texts,
    "longdialogue_qa_eng": _texts,
    "math_find": _number,
    "math_calc": _values,
    "code_run": _whole,
}
