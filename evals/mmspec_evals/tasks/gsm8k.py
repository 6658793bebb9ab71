"""GSM8K: sums of a few steps told as stories, marked by their final number."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from mmspec_evals.data import official
from mmspec_evals.doc import Doc, Text
from mmspec_evals.errors import DataError
from mmspec_evals.task import Corpus, Metric, Task

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mmspec_evals.data.rows import Table
    from mmspec_evals.task import Want

PROMPT = (
    "{question}\n\nWork this out step by step. Then write the result on a line of its own, after "
    "four hash signs, as in: #### 42"
)
_DIGITS = r"-?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)"
_MARKED = re.compile(r"####\s*\$?\s*(" + _DIGITS + ")")
_NUMBER = re.compile(r"(?<![0-9.])" + _DIGITS)  # the stroke of "5-3" is no sign


def load(want: Want) -> Corpus:
    """The test split, without worked examples.

    Raises:
        DataError: no file, or a row whose answer ends in no number.
    """
    table = official.wanted(want, "gsm8k", ("test", "gsm8k", "main"))
    rows = official.labelled(table, ("id",), want.limit)
    return Corpus(
        docs=tuple(_doc(name, row, table) for name, row in rows),
        kind="official",
        path=table.path,
        sha256=table.sha256,
        rows=len(table.rows),
        note="no worked examples in the prompt: not comparable with published few-shot scores",
    )


def _doc(name: str, row: Mapping[str, Any], table: Table) -> Doc:
    question = official.words(row, "question", table)
    found = marked(official.words(row, "answer", table))
    if found is None:
        raise DataError(f"{table.path}: an answer has no number after ####")
    return Doc(
        id=name,
        turns=((Text(PROMPT.replace("{question}", question)),),),
        target=str(found),
        cluster=official.seal(question),
    )


def marked(text: str) -> Decimal | None:
    """The number after the first four hash signs that have one; commas do not count.

    >>> marked("so 70,000 #### 70,000")
    Decimal('70000')
    """
    found = _MARKED.search(text)
    return _value(found.group(1)) if found else None


def last(text: str) -> Decimal | None:
    """The last number of a text.

    >>> last("From 3 to 5.50.")
    Decimal('5.50')
    """
    found = _NUMBER.findall(text)
    return _value(found[-1]) if found else None


def score(answers: tuple[str, ...], doc: Doc) -> dict[str, float]:
    """Whether the number after the hash signs is right; ``lenient``: else the last number."""
    truth = Decimal(doc.target)
    strict = marked(answers[0])
    lenient = strict if strict is not None else last(answers[0])
    return {"exact": float(strict == truth), "lenient": float(lenient == truth)}


def _value(number: str) -> Decimal:
    return Decimal(number.replace(",", ""))


TASKS = (
    Task(
        name="gsm8k",
        version=1,
        profile="both",
        style="chat",
        max_new_tokens=512,
        metrics=(Metric("exact"), Metric("lenient")),
        load=load,
        score=score,
        data="gsm8k",
    ),
)
