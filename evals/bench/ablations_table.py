"""The ablations as one Markdown table, from what ``ablations.py`` wrote; it is printed.

python evals/bench/ablations_table.py > evals/results/retrieval/ablations.md
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parents[1] / "results" / "retrieval"
COLUMNS = {
    "quotes": "documents, quotes",
    "facts": "documents, facts",
    "chapters": "documents, chapters",
    "code changed": "code, changed",
    "code continued": "code, continued",
    "pictures": "pictures described",
    "open text": "open text",
}
# Requests of remember*.json stand under the kind they are nearest to; one has a column of its own.
ACROSS = "code, other modules"
REMEMBERED = {
    "quotes": "documents, quotes",
    "code changed": "programs changed",
    "code continued": "code, within modules",
    ACROSS: "code, across modules",
}
TEMPERATURES = ("0.0", "0.6", "1.0")
TAU, SHARE, GAIN = "tau", "rounds that ask", "tau over own text alone"


class Line(NamedTuple):
    """A row: what it says, which arm's numbers, and what of them."""

    title: str
    arm: str
    what: str = TAU


def lines(price: str, costs: list[str]) -> list[Line]:
    """All rows, in the order of the ablations."""
    told = [
        Line("A0 plain decoding", "A0 plain"),
        Line("A1 model's tree", "A1 model's tree"),
        Line("A2 prompt lookup, chain", "A2 prompt lookup, chain"),
        Line("A3 automaton, chain", "A3 automaton, chain"),
        Line("A4 automaton, tree by votes", "A4 automaton, tree by votes"),
        Line("A5 + index of earlier modules", "+ index of earlier modules (A5)", GAIN),
        Line("A6 A4 + successor rows", "A6 tree by votes + successor rows"),
        Line("A6 A4 + successor rows, live", "+ successor rows, live (A6)", GAIN),
        Line("A6 A9 without successor rows", "A6 model + tree by votes, no successor rows"),
        *(Line(f"A7 switch at {x}", f"A7 switch at {x}") for x in (1.0, 2.5, 4.0)),
        Line("A8 union (A11: no pruning)", "A8 union"),
        Line("A9 calibrated, the default", "A9 calibrated"),
        *(
            Line(f"A10 {title}", arm, f"t(n):{cost}")
            for cost in costs
            for title, arm in (
                *((f"{n} nodes", f"A10 {n} nodes") for n in (16, 8, 4, 2)),
                ("t(n)", f"A10 t(n), {cost}"),
            )
        ),
        *(
            Line(f"A11 {how}", f"A11 {how}")
            for how in (
                "pruned by count", "pruned by the model, hard (RASD)", "pruned by both, soft",
            )
        ),
        Line("A12 model's tree, shared noise", "A1 model's tree"),
        Line("A12 model's tree, deterministic", "A12 model's tree, deterministic"),
        Line("A12 A9, deterministic", "A12 calibrated, deterministic"),
        *(
            Line(f"A13 {how}, chain", f"A13 {how}, chain")
            for how in ("earliest", "recent", "vote")
        ),
        Line("A13 earliest, other requests' texts", "A13 earliest", GAIN),
        Line("A13 latest, other requests' texts", "A13 latest", GAIN),
        Line("A13 vote, other requests' texts", "+ answers and prompts (A15)", GAIN),
        Line("A14 64 evenly", "+ answers, prompts, index", GAIN),
        Line("A14 first 64", "A14 first 64", GAIN),
        Line("A14 8 evenly", "A14 8 evenly", GAIN),
        Line("A14 first 8", "A14 first 8", GAIN),
        Line("A15 answers remembered", "+ answers (A15)", GAIN),
        Line("A15 answers and prompts remembered", "+ answers and prompts (A15)", GAIN),
        Line("A18 four tenants, A15 each", "A18 four tenants", GAIN),
    ]  # fmt: skip
    rules = (
        "asked never", "asked under 1.0", "asked under 2.5", "asked under 4.0", "asked under 6.0",
        "A9 calibrated", "asked as learned, cold", "asked as learned, after other documents",
        "asked as learned, after other kinds", f"asked as learned, told {price} passes",
    )  # fmt: skip
    told += [
        Line("asked always" if rule.startswith("A9") else rule, rule, f"worth:{price}")
        for rule in rules
    ]
    told += [Line(rule, rule, SHARE) for rule in ("asked under 2.5", *rules[6:9])]
    told.append(Line("asked as learned, cold", "asked as learned, cold"))
    return told


def mean(result: dict[str, Any], line: Line) -> str:
    """The geometric mean over kinds of text, at each temperature; shares are averaged."""
    if line.what == GAIN:
        return ""
    told = []
    for temperature in TEMPERATURES:
        kinds = [result["replayed"][temperature][kind][line.arm] for kind in COLUMNS.values()]
        found = [number(row, line.what) for row in kinds]
        if line.what == SHARE:
            told.append(f"{100 * sum(found) / len(found):.0f}")
        else:
            told.append(f"{math.prod(found) ** (1 / len(found)):.2f}")
    return " / ".join(told)


def cell(result: dict[str, Any], line: Line, column: str) -> str:
    """One arm on one kind: its numbers at each temperature, or nothing."""
    told = []
    for temperature in TEMPERATURES:
        if line.what == GAIN:
            kind = result["remembered"].get(REMEMBERED.get(column, ""), {})
            row = kind.get(temperature, {}).get(line.arm)
            told.append("-" if row is None else f"{100 * row['gain']:+.0f}")
            continue
        row = result["replayed"][temperature].get(COLUMNS.get(column, ""), {}).get(line.arm)
        if row is None:
            told.append("-")
        elif line.what == SHARE:
            told.append(f"{100 * number(row, SHARE):.0f}")
        else:
            told.append(f"{number(row, line.what):.2f}")
    return "" if set(told) == {"-"} else " / ".join(told)


def number(row: dict[str, Any], what: str) -> float:
    """What of an arm's numbers a row is about."""
    field, _, key = what.partition(":")
    if field == "worth":
        return float(row["worth"][key])
    if field == "t(n)":
        return float(row["worth_at_t(n)"][key])
    return float(row["asked" if what == SHARE else "tau"])


def counted(what: str) -> str:
    """What a row's numbers are, in words."""
    field, _, key = what.partition(":")
    names = {
        TAU: "tau",
        SHARE: "% of rounds that ask",
        GAIN: "% of tau over own text alone, `remember*.json`",
        "worth": f"tokens a pass, asking at {key}",
        "t(n)": f"tokens a pass of 1 node, {key}",
    }
    return names[field]


def main() -> None:
    """Print it."""
    result = json.loads((RESULTS / "ablations.json").read_text(encoding="utf-8"))
    columns = [*COLUMNS, ACROSS]
    print("| ablation | counted | " + " | ".join(columns) + " | all seven |")
    print("|---" * (3 + len(columns)) + "|")
    price = f"{result['config']['price']:g}"
    for line in lines(price, list(result["costs"])):
        cells = [cell(result, line, column) for column in columns]
        print(
            "| " + " | ".join([line.title, counted(line.what), *cells, mean(result, line)]) + " |"
        )


if __name__ == "__main__":
    main()
