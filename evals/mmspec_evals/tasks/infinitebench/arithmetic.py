"""A number to be found in a long list, and a long sum to be worked through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

    from mmspec_evals.tasks.infinitebench.fit import Maker

KINDS = (
    "largest", "second largest", "third largest", "smallest", "second smallest", "third smallest",
    "median",
)  # fmt: skip
HIGH = 99


def math_find(rng: random.Random, _depth: float, index: int) -> Maker:
    """Numbers of 0 to 99, or of a part of that, so that the extremes are not always the same."""
    kind = KINDS[index % len(KINDS)]
    least = rng.randint(0, 19) if kind.endswith("smallest") else 0
    most = rng.randint(80, HIGH) if kind.endswith("largest") else HIGH
    numbers: list[int] = []

    def make(units: int) -> dict[str, Any]:
        numbers.extend(rng.randint(least, most) for _ in range(units - len(numbers)))
        told = numbers[:units]
        ask = f"Answer with one number and nothing more. The {kind} number of the list is: "
        return {"context": str(told), "input": ask, "answer": [_found(kind, told)]}

    return make


def math_calc(rng: random.Random, _depth: float, _index: int) -> Maker:
    """Additions and subtractions that stay within 0 to 99; all values after the first operand."""
    terms = [str(rng.randint(0, HIGH))]
    values = [int(terms[0])]

    def make(units: int) -> dict[str, Any]:
        while len(values) <= units:
            sign = rng.choice("+-")
            operand = rng.randint(0, values[-1] if sign == "-" else HIGH - values[-1])
            terms.append(f"{sign} {operand}")
            values.append(values[-1] + (operand if sign == "+" else -operand))
        answer = values[1 : units + 1]
        return {"context": " ".join(terms[: units + 1]), "input": "", "answer": answer}

    return make


def _found(kind: str, numbers: list[int]) -> int | float:
    """What is asked for; repeated numbers count once, except for the median.

    Of fewer different numbers than asked for, the last there is.
    """
    if kind == "median":
        ordered, half = sorted(numbers), len(numbers) // 2
        return ordered[half] if len(numbers) % 2 else (ordered[half - 1] + ordered[half]) / 2
    different = sorted(set(numbers), reverse=kind.endswith("largest"))
    place = {"second": 1, "third": 2}.get(kind.partition(" ")[0], 0)
    return different[min(place, len(different) - 1)]
