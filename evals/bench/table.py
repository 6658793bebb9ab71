"""Write the benchmark table of README.md from a result of ``skeleton.py``.

python evals/bench/table.py evals/results/skeleton.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"


def rows(result: dict) -> list[tuple[str, str, str]]:
    """(what, measured, the bar it was held to)."""

    def ratio(name: str) -> str:
        part = result[name]
        return f"{part['ratio']:.2f}x ({part['low']:.2f} to {part['high']:.2f})"

    verify = result["verify_ms_at_512"]
    price = {
        batch: f"{result[f'near_tie_vs_bitwise_{batch}']['ratio'] - 1:.0%}" for batch in (1, 8, 32)
    }
    tau = {name: result[name]["tau"] for name in ("facts", "documents", "descriptions")}
    return [
        (
            "plain decoding over `transformers` generate, batch 1",
            ratio("plain_vs_transformers"),
            "1.3x",
        ),
        ("tokens a second, batch 8 over batch 1", ratio("batch_8_vs_1"), "2.5x"),
        (
            "16-node verify over one node, 512 tokens of context",
            f"{verify['16'] / verify['1']:.3f}x",
            "at most 1.25x",
        ),
        ("time outside model passes, batch 1", f"{result['outside_forward_share']:.1%}", "8%"),
        ("price of `bitwise` over `near-tie`, batch 1", price[1], "at most 15%"),
        ("the same at batch 8 / 32", f"{price[8]} / {price[32]}", "reported"),
        (
            f"speculation on over off, facts quoted from short documents (tau {tau['facts']:.2f})",
            ratio("facts"),
            "tau 2.0",
        ),
        (
            f"the same, whole sections quoted (tau {tau['documents']:.2f}; "
            f"{result['documents']['share_at_cap']:.0%} of answers loop to the cap)",
            ratio("documents"),
            "tau 2.0",
        ),
        (
            f"speculation on over off, picture descriptions (tau {tau['descriptions']:.2f})",
            ratio("descriptions"),
            "at least 0.97x",
        ),
        (
            "speculation on over off, mixed prompts, batch 8",
            ratio("speculation_batch_8"),
            "reported",
        ),
        ("the same at batch 32", ratio("speculation_batch_32"), "reported"),
    ]


def main() -> None:
    """Replace what stands between the two marks."""
    source = Path(sys.argv[1])
    result = json.loads(source.read_text(encoding="utf-8"))
    made = result["provenance"]
    lines = ["| what | measured | bar |", "|---|---|---|"]
    lines += [f"| {what} | {measured} | {bar} |" for what, measured, bar in rows(result)]
    lines += [
        "",
        f"`{source.name}`, {made['when'][:10]}, commit {made['commit'][:7]}, {made['threads']} CPU "
        f"threads, torch {made['torch']}, bf16, model `{made['model']}`; ranges are over rounds.",
    ]
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    table = "\n".join(lines)
    README.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
