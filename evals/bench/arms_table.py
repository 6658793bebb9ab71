"""Write the table of fusing in docs/design.md from what ``replay.py`` played and ran live.

python evals/bench/arms_table.py
"""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "design.md", ROOT / "evals" / "results" / "retrieval"
BEGIN, END = "<!-- fusing -->", "<!-- /fusing -->"
ARMS = ("model", "quotes", "union", "calibrated", "rasd")
SPARING = "calibrated, model not asked from 4.0"


def main() -> None:
    """One row a kind of text."""
    played = json.loads((RESULTS / "arms.json").read_text(encoding="utf-8"))
    live = json.loads((RESULTS / "live.json").read_text(encoding="utf-8"))["live"]
    lines = [
        "| text | model alone | quotes alone | union | calibrated | rasd | best switch, replayed | "
        "calibrated, model asked under 4 expected tokens, replayed (rounds that asked it) |",
        "|---" * 8 + "|",
    ]
    for kind, arms in played["play"].items():
        told = [f"{live[kind][arm]:.2f}" for arm in ARMS]
        switch = max(row["tau"] for name, row in arms.items() if name.startswith("switch"))
        spare = arms[SPARING]
        last = f"{spare['tau']:.2f} ({spare['model_asked']:.0%})"
        lines.append("| " + " | ".join([kind, *told, f"{switch:.2f}", last]) + " |")
    text = PAGE.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE}: no {BEGIN} ... {END} to write between")
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
