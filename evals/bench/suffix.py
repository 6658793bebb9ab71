"""What drafting without weights costs: time and memory of the automaton, the drafters and fuse.

``python evals/bench/suffix.py [--out FILE]``: a few seconds, no model. The text is Python's own
standard library, in words, so every machine has it. Lines are printed; the same numbers go to FILE
as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.drafter import Budget, Facts, Observation
from mmspec.core.fuse import fuse
from mmspec.core.request import Prompt, Request
from mmspec.core.sequence import Sequence
from mmspec.retrieval import recycling, suffix
from mmspec.retrieval.automaton import Automaton

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.core.drafter import Drafter
    from mmspec.core.tree import TokenTree

PROMPT = 131_072
VOCABULARY = 32_768
FACTS = Facts(vocabulary=VOCABULARY, context=1 << 20)
NOTHING = np.zeros(0, np.int64)
SPREAD = ("min", "p50", "p99")


def read_text(tokens: int) -> np.ndarray:
    """The first ``tokens`` words of the standard library, int64."""
    ids: dict[str, int] = {}
    text: list[int] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        words = re.findall(r"\w+|\s+|[^\w\s]", path.read_text("utf-8", errors="replace"))
        text += [ids.setdefault(word, len(ids) % VOCABULARY) for word in words]
        if len(text) >= tokens:
            break
    return np.array(text[:tokens], np.int64)


class Clock:
    """Notes how long each ``with`` block took, in nanoseconds."""

    def __init__(self, read: Callable[[], int] = time.perf_counter_ns) -> None:
        self.spent: list[int] = []
        self._read = read

    def __enter__(self) -> None:
        self._start = self._read()

    def __exit__(self, *error: object) -> None:
        self.spent.append(self._read() - self._start)

    def spread(self, unit: float = 1e3) -> dict[str, float]:
        """Least, p50 and p99 in ``unit`` nanoseconds."""
        least, half, most = np.percentile(self.spent, [0, 50, 99]) / unit
        return {
            name: round(float(x), 2) for name, x in zip(SPREAD, (least, half, most), strict=True)
        }


def bench_automaton(text: np.ndarray) -> dict[str, object]:
    """Building a 128K-token prompt, then one token a call."""
    build, step = Clock(time.thread_time_ns), Clock()  # milliseconds are CPU time
    for _ in range(5):
        automaton = Automaton(VOCABULARY, NOTHING, PROMPT + 64)
        with build:
            automaton.extend(text[:PROMPT])
    size = automaton.bytes / automaton.size
    for index in range(PROMPT, PROMPT + 5000):
        token = text[index : index + 1]
        with step:
            automaton.extend(token)
    return {
        "build_128k_ms": build.spread(1e6),
        "bytes_per_token": round(size, 1),
        "step_us_per_token": step.spread(),
    }


def accept(tree: TokenTree, coming: np.ndarray) -> int:
    """How many of the tokens ``coming`` the tree guessed."""
    node = 0
    for count, token in enumerate(coming):
        below = np.flatnonzero((tree.parents == node) & (tree.tokens == token))
        if not len(below):
            return count
        node = int(below[0])
    return len(coming)


def bench_drafts(text: np.ndarray, prompt: int, nodes: int, steps: int = 1000) -> dict[str, object]:
    """Drafting and fusing along the text after a prompt; the toy target ranks what comes first."""
    drafters: dict[str, Drafter] = {
        "suffix": suffix.build(suffix.Config(), FACTS),
        "recycling": recycling.build(recycling.Config(), FACTS),
    }
    sequence = Sequence(Request("bench", Prompt(text[:prompt])), 0, 0)
    sequence.cached = prompt - 1
    clocks = {name: Clock() for name in (*drafters, "fuse", "observe")}
    last_seen: dict[int, np.ndarray] = {}
    budget, sizes = Budget(nodes, 12), []
    for _ in range(steps):
        trees: list[TokenTree] = []
        for name, drafter in drafters.items():
            with clocks[name]:
                trees += drafter.draft([sequence], [budget])
        with clocks["fuse"]:
            fused = fuse(trees, budget)
        sizes.append(len(fused))
        place = len(sequence)
        count = accept(fused, text[place : place + 12])
        coming = text[place : place + count + 1]
        for token, after in zip(text[place - 1 : place + count], coming, strict=True):
            row = last_seen.get(int(token), NOTHING)
            last_seen[int(token)] = np.concatenate([[after], row[row != after]])[:8]
        sequence.extend(coming)
        sequence.cached = len(sequence) - 1
        seen = observation(fused, last_seen)
        with clocks["observe"]:
            for drafter in drafters.values():
                drafter.observe([sequence], seen)
    measured: dict[str, object] = {name: clock.spread() for name, clock in clocks.items()}
    measured["nodes"] = round(float(np.mean(sizes)), 1)
    measured["tau"] = round((len(sequence) - prompt) / steps, 2)
    return measured


def observation(tree: TokenTree, ranked: dict[int, np.ndarray]) -> Observation:
    """What a verify of ``tree`` would show of a target that ranks by recency."""
    top = np.full((len(tree), 8), -1, np.int64)
    for node, token in enumerate(tree.tokens):
        row = ranked.get(int(token), NOTHING)
        top[node, : len(row)] = row
    return Observation(
        offsets=np.zeros(2, np.int32),
        tokens=NOTHING,
        node_offsets=np.array([0, len(tree)], np.int32),
        node_tokens=tree.tokens,
        top=top,
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    out: Path | None = parser.parse_args().out
    text = read_text(PROMPT + 40_000)
    Automaton(VOCABULARY, NOTHING).extend(text[:64])  # compiled before the clock starts
    measured: dict[str, object] = {"machine": platform.processor() or platform.machine()}
    measured |= bench_automaton(text)
    for prompt, nodes in ((4096, 16), (4096, 64), (PROMPT, 16)):
        measured[f"draft_us_{nodes}_nodes_after_{prompt}"] = bench_drafts(text, prompt, nodes)
    for name, value in measured.items():
        print(f"{name:32} {value}")
    if out is not None:
        out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
