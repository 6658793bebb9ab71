"""A secret in idle talk, a value among many: in the wording the bundled models were trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec.train.data import names
from mmspec.train.data.documents import filler

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from mmspec_evals.tasks.infinitebench.fit import Maker

KEY_DIGITS = 5
NUMBER_DIGITS = 10


def passkey(rng: random.Random, depth: float, _index: int) -> Maker:
    """Five random digits, told once among sentences that tell nothing."""
    return _secret(rng, depth, "pass key", names.digits(rng, KEY_DIGITS))


def number_string(rng: random.Random, depth: float, _index: int) -> Maker:
    """Ten digits, half of them doubles of a neighbour, so that a slip in copying shows."""
    digits = list(names.digits(rng, NUMBER_DIGITS // 2))
    while len(digits) < NUMBER_DIGITS:
        place = rng.randrange(len(digits))
        digits.insert(place, digits[place])
    return _secret(rng, depth, "secret number", "".join(digits))


def kv_retrieval(rng: random.Random, depth: float, _index: int) -> Maker:
    """Lines of a name and its value; the one at ``depth`` is asked for."""
    pairs: dict[str, str] = {}
    value: Callable[[], str] = rng.choice(
        (lambda: names.digits(rng, 6), lambda: names.code(rng, 8), lambda: names.name(rng))
    )

    def make(units: int) -> dict[str, Any]:
        while len(pairs) < units:
            pairs.setdefault(names.name(rng).lower(), value())
        shown = list(pairs.items())[:units]
        key, told = shown[round(depth * (units - 1))]
        context = "\n".join(f"{name}: {held}" for name, held in shown)
        return {"context": context, "input": f"What is the value of {key}?", "answer": told}

    return make


def _secret(rng: random.Random, depth: float, kind: str, secret: str) -> Maker:
    talk: list[str] = []

    def make(units: int) -> dict[str, Any]:
        talk.extend(filler(rng) for _ in range(units - len(talk)))
        told = talk[:units]
        told.insert(round(depth * units), f"The {kind} is {secret}. Remember it.")
        context = " ".join(told)
        return {"context": context, "input": f"What is the {kind}?", "answer": [secret]}

    return make
