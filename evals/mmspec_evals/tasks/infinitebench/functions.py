"""Functions that call each other, layer by layer, to be followed to their number."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmspec_evals.tasks.infinitebench.fit import Maker

CALLS = (2, 4, 6, 8, 10)  # calls deep, in turn
OFFSETS = (-12, 17)


def code_run(rng: random.Random, _depth: float, index: int) -> Maker:
    """As many functions as there are units (and no fewer than layers), sorted by their numbers."""
    layers, seed = CALLS[index % len(CALLS)], rng.random()

    def make(units: int) -> dict[str, Any]:
        own = random.Random(f"{seed} {units}")
        order = own.sample(range(units), units) if units >= layers else [*range(layers)]
        calls = _bodies(own, [order[place::layers] for place in range(layers)])
        start, argument = own.choice(order[::layers]), own.randint(-10, 10)
        code = "\n\n".join(_source(name, *calls[name]) for name in sorted(calls))
        ask = f"What does func_{start}({argument}) return?"
        return {"context": code, "input": ask, "answer": [_followed(calls, start, argument)]}

    return make


def _bodies(rng: random.Random, layers: list[list[int]]) -> dict[int, tuple[int | None, int]]:
    """Which function of the next layer (None in the last) each calls, and what it adds."""
    bodies: dict[int, tuple[int | None, int]] = {}
    for layer, below in zip(layers, [*layers[1:], None], strict=True):
        for name in layer:
            bodies[name] = (rng.choice(below) if below else None, rng.randint(*OFFSETS))
    return bodies


def _source(name: int, callee: int | None, offset: int) -> str:
    inner = "x" if callee is None else f"func_{callee}(x)"
    sign = "-" if offset < 0 else "+"
    return f"def func_{name}(x):\n    return {inner} {sign} {abs(offset)}"


def _followed(calls: dict[int, tuple[int | None, int]], start: int, argument: int) -> int:
    name: int | None = start
    while name is not None:
        name, offset = calls[name]
        argument += offset
    return argument
