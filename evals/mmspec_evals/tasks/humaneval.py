"""HumanEval: beginnings of Python functions to go on with; a prompt set here.

Nothing that a model wrote is ever run, so there is no pass@k. What is told is whether the
function, as far as it goes, is Python at all.
"""

from __future__ import annotations

import ast
import warnings
from typing import TYPE_CHECKING

from mmspec_evals.data import official
from mmspec_evals.doc import Doc, Text
from mmspec_evals.task import Corpus, Metric, Task

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mmspec_evals.data.rows import Table
    from mmspec_evals.task import Want

STOP = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n@", "\n```")


def load(want: Want) -> Corpus:
    """All 164 beginnings.

    Raises:
        DataError: no file, or a row without a prompt.
    """
    table = official.wanted(
        want, "humaneval", ("HumanEval", "humaneval", "openai_humaneval", "test")
    )
    rows = official.labelled(table, ("task_id",), want.limit)
    return Corpus(
        docs=tuple(_doc(name, row, table) for name, row in rows),
        kind="official",
        path=table.path,
        sha256=table.sha256,
        rows=len(table.rows),
        note="nothing is run: parses tells whether an answer is Python, not whether it is right",
    )


def _doc(name: str, row: Mapping[str, Any], table: Table) -> Doc:
    prompt = official.words(row, "prompt", table)
    return Doc(
        id=name.replace("/", "-"),
        turns=((Text(prompt),),),
        target=row.get("entry_point"),
        cluster=official.seal(prompt),
        fields={"prompt": prompt},
    )


def score(answers: tuple[str, ...], doc: Doc) -> dict[str, float]:
    """Whether prompt and answer are one Python function; an empty answer adds nothing to it."""
    said = answers[0]
    return {"parses": float(bool(said.strip()) and parses(doc.fields["prompt"] + said))}


def parses(code: str) -> bool:
    r"""Whether a text is a Python module that ends in a function; it is not run, nor compiled.

    >>> parses("def f(): return 1"), parses("def f(): pass\nreturn 1"), parses("def f(:")
    (True, False, False)
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of doubtful escapes and comparisons
            body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(body) and isinstance(body[-1], (ast.FunctionDef, ast.AsyncFunctionDef))


TASKS = (
    Task(
        name="humaneval",
        version=1,
        profile="speed",
        style="completion",
        max_new_tokens=512,
        metrics=(Metric("parses"),),
        load=load,
        score=score,
        stop=STOP,
        data="humaneval",
        aliases=("HumanEval", "openai_humaneval"),
    ),
)
