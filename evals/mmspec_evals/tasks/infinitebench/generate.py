"""Rows of our own in InfiniteBench's shape, at any prompt length, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmspec.train.data.seeds import example_seed, generator
from mmspec_evals.doc import Text
from mmspec_evals.tasks.infinitebench import arithmetic, functions, hidden
from mmspec_evals.tasks.infinitebench.fit import fitted
from mmspec_evals.tasks.infinitebench.rows import MADE, questions
from mmspec_evals.tasks.infinitebench.wording import WORDINGS, Wording, worded

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from mmspec_evals.doc import Part
    from mmspec_evals.tasks.infinitebench.fit import Maker
    from mmspec_evals.tasks.infinitebench.rows import Question

GENERATORS: dict[str, Callable[[random.Random, float, int], Maker]] = {
    "passkey": hidden.passkey,
    "number_string": hidden.number_string,
    "kv_retrieval": hidden.kv_retrieval,
    "math_find": arithmetic.math_find,
    "math_calc": arithmetic.math_calc,
    "code_run": functions.code_run,
}
TOKENS = 1024  # of a prompt, when nobody names a length
_RUN = 1_000_000  # examples a seed may have
# The bundled models read a text and a bare question.
_BARE = Wording("", "\n\n{ask}", "\n\n{ask}")
_WORDINGS = WORDINGS | dict.fromkeys(("passkey", "number_string", "kv_retrieval"), _BARE)


def make_rows(
    task: str,
    tokens: Sequence[int],
    grid: tuple[int, int],
    seed: int,
    count: Callable[[str], int],
) -> Iterator[dict[str, Any]]:
    """Rows of one task: lengths in turn at each depth, depths from 0 to 1.

    Args:
        tokens: of the whole prompt in our own words, chat template apart; each within 2 %.
        grid: number of depths, and of rows at each of them, for every length.
        count: tokens of a text.

    Raises:
        DataError: a length is too short for the task.
    """
    depths, times = grid
    for index in range(depths * times * len(tokens)):
        length, place = tokens[index % len(tokens)], index // len(tokens)
        depth = place // times / (depths - 1) if depths > 1 else 0.5
        rng = generator(example_seed("held_out", _RUN * (seed + 1) + index), f"infinite {task}")
        make = GENERATORS[task](rng, depth, place)
        row = make(fitted(_Shown(task, make), length, count))
        yield {"id": index, **row, "options": [], "tokens": length, "depth": depth, MADE: "mmspec"}


def prompt(task: str, row: Question) -> tuple[Part, ...]:
    """The parts of a made row's prompt."""
    return worded(task, row, "chat", _WORDINGS)


@dataclass(frozen=True, slots=True)
class _Shown:
    """The whole prompt of a row with so many units."""

    task: str
    make: Maker

    def __call__(self, units: int) -> str:
        row = questions(self.task, [self.make(units)], "a made row")[0]
        return "".join(part.text for part in prompt(self.task, row) if isinstance(part, Text))
