"""LongBench v2: 503 questions with four choices on contexts of 8 thousand to 2 million words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec_evals.data import official
from mmspec_evals.doc import Doc
from mmspec_evals.metrics.longbench_v2 import letter
from mmspec_evals.task import Corpus, Metric, Task
from mmspec_evals.tasks import longbench_prompts as prompts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec_evals.data.rows import Table
    from mmspec_evals.task import Want

NAMES = ("longbench_v2", "data", "train", "LongBench-v2", "longbench-v2")
OWN = (
    "Read this text; a question with four choices follows it.\n\n$DOC$\n\n"
    "Question: $Q$\n(A) $C_A$\n(B) $C_B$\n(C) $C_C$\n(D) $C_D$\n\n"
    'Reply with one sentence of exactly this form, with the letter of your choice: "The correct '
    'answer is (A)".'
)
_GROUPS = ("easy", "hard", "short", "medium", "long")


def load(want: Want) -> Corpus:
    """All questions, or the first of them.

    Raises:
        DataError: no file or no template.
    """
    table = official.wanted(want, "longbench_v2", NAMES)
    template = OWN
    if want.prompts is not None:
        template = prompts.official(want.prompts, "prompts/0shot.txt")
    rows = official.labelled(table, ("_id", "id"), want.limit)
    return Corpus(
        docs=tuple(_doc(name, row, template, table) for name, row in rows),
        kind="official",
        path=table.path,
        sha256=table.sha256,
        rows=len(table.rows),
        prompts="own" if want.prompts is None else "official",
        note=(
            "an empty answer counts as wrong in accuracy and in the groups; accuracy_official "
            "leaves it out, as the official script does"
        ),
    )


def _doc(name: str, row: Mapping[str, Any], template: str, table: Table) -> Doc:
    context = official.words(row, "context", table).strip()
    values = {"$DOC$": context, "$Q$": official.words(row, "question", table).strip()}
    for choice in "ABCD":
        values[f"$C_{choice}$"] = official.words(row, f"choice_{choice}", table).strip()
    return Doc(
        id=name,
        turns=(prompts.replace(template, values, long="$DOC$"),),
        target=official.words(row, "answer", table),
        cluster=official.seal(context),
        fields={key: row.get(key) for key in ("domain", "sub_domain", "difficulty", "length")},
    )


def score(answers: tuple[str, ...], doc: Doc) -> dict[str, float]:
    """Right or wrong, in all and in the document's groups; what is not easy is hard."""
    right = float(letter(answers[0]) == doc.target)
    difficulty = "easy" if doc.fields.get("difficulty") == "easy" else "hard"
    found = {"accuracy": right, difficulty: right}
    if answers[0]:
        found["accuracy_official"] = right
    if doc.fields.get("length") in _GROUPS[2:]:
        found[doc.fields["length"]] = right
    return found


TASKS = (
    Task(
        name="longbench_v2",
        version=1,
        profile="quality",
        style="chat",
        max_new_tokens=128,
        metrics=tuple(Metric(name) for name in ("accuracy", "accuracy_official", *_GROUPS)),
        load=load,
        score=score,
        data="longbench_v2",
        aliases=("longbench-v2", "longbench2"),
    ),
)
