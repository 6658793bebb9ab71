"""MT-Bench: 80 conversations of two turns; a prompt set here, since its marks need a judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmspec_evals.data import official, turns
from mmspec_evals.task import Corpus, Task
from mmspec_evals.tasks.spec_bench import unmarked

if TYPE_CHECKING:
    from mmspec_evals.task import Want


def load(want: Want) -> Corpus:
    """All conversations; a limit takes them from all categories in turn.

    Raises:
        DataError: no file, or a row without turns.
    """
    table = official.wanted(want, "mt_bench", ("question", "mt_bench", "mt-bench", "train"))
    found = turns.docs(table.rows, table.path)
    return Corpus(
        docs=tuple(turns.in_turn(found, want.limit)),
        kind="official",
        path=table.path,
        sha256=table.sha256,
        rows=len(table.rows),
        note="no judge: answers are not marked",
    )


TASKS = (
    Task(
        name="mt_bench",
        version=1,
        profile="speed",
        style="chat",
        max_new_tokens=1024,
        metrics=(),
        load=load,
        score=unmarked,
        data="mt_bench",
        aliases=("mtbench", "mt-bench"),
    ),
)
