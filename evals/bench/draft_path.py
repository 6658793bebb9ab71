"""What a round costs besides the target's pass, with the drafters that run no model: microseconds.

Every request has a piece of this environment's Python, in words, changes one word in sixteen, and
predicts the piece as it was: so all drafters have something to say. The corpus drafter has an index
of a million words mounted and a memory of sixty thousand. Each scene runs twice: once with clocks
around every drafter and the fusing, once with clocks around the panel alone, which is the total.
Of ``settle.observation`` the scan of the logits, which grows with the vocabulary, and the rest.

    python evals/bench/draft_path.py [--out evals/results/retrieval/draft_path.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from corpus import provenance
from suffix import Clock, read_text
from toy_target import LIKELY, Toy, some_tree, walk

from mmspec.core.calibration import Calibration
from mmspec.core.drafter import Budget, Facts, Needs, Observation
from mmspec.core.fuse import Fusion, fuse
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.core.top import top_tokens
from mmspec.core.tree import TokenTree
from mmspec.engine.draft import Panel
from mmspec.engine.fusing import Fuser
from mmspec.engine.goodput import Ledger, cell
from mmspec.engine.settle import observation
from mmspec.engine.stats import Tally
from mmspec.engine.trial import Terms, Trial
from mmspec.model.target import Output
from mmspec.retrieval import corpus, prediction, recycling, stand, suffix
from mmspec.retrieval.segment import PUBLIC, identity_of
from mmspec.retrieval.segment_build import Draft
from mmspec.retrieval.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.core.drafter import Drafter

SEED, VOCABULARY = 0, 32_768
FACTS = Facts(vocabulary=VOCABULARY, context=1 << 16)
INDEXED, REMEMBERED, PIECE = 1_000_000, 60_000, 4096
CHANGED = 16  # one word in so many of an answer is not the prediction's
DEPTH = 12
STEPS = {1: 250, 64: 40}  # by batch
BARS = {1: 60.0, 64: 2000.0}  # of a whole step, p50


class Scene(NamedTuple):
    """A way to draft."""

    arm: str
    batch: int
    nodes: int
    drafters: str = "four"

    def __str__(self) -> str:
        return f"{self.arm}, batch {self.batch}, {self.nodes} nodes, {self.drafters}"


SETS = {
    "four": ("suffix", "recycling", "corpus", "prediction"),
    "two": ("suffix", "recycling"),
    "five": ("suffix", "recycling", "corpus", "prediction", "stand"),
}
SCENES = [
    *(Scene(arm, batch, 16) for arm in ("union", "calibrated") for batch in (1, 64)),
    Scene("union", 1, 64), Scene("calibrated", 1, 64), Scene("union", 64, 4),
    *(Scene("union", batch, 16, some) for some in ("two", "five") for batch in (1, 64)),
]  # fmt: skip


class Timed:
    """Has a function's calls timed."""

    def __init__(self, call: Callable[..., object], clock: Clock) -> None:
        self._call, self._clock = call, clock

    def __call__(self, *given: object) -> object:
        """As it was, but timed."""
        with self._clock:
            return self._call(*given)


class Stage:
    """Requests in flight, their answers known."""

    def __init__(self, scene: Scene, drafters: dict[str, Drafter], text: np.ndarray) -> None:
        self.panel = Panel(drafters, VOCABULARY, fuser=Fuser(Fusion(scene.arm)))  # type: ignore[arg-type]
        self.budgets = [Budget(scene.nodes, DEPTH)] * scene.batch
        self.sequences: list[Sequence] = []
        self.answers, self.toys = [], []
        self.tallies: dict[str, Tally] = {}
        noise, ledger = np.random.default_rng(SEED), Ledger()
        for index in range(scene.batch):
            piece = text[index * PIECE : (index + 1) * PIECE]
            changed = np.where(noise.integers(CHANGED, size=PIECE), piece, noise.permutation(piece))
            greedy = Sampling(temperature=0.0)
            request = Request(f"{index}", Prompt(piece), greedy, prediction=piece)
            one = Sequence(request, 0, 0)
            one.extend(changed[:1])
            one.cached = PIECE
            trial = Trial(self.panel.addresses, Terms(64, 1.0), ledger, cell(PIECE, scene.batch))
            self.sequences.append(one)
            self.answers.append(changed)
            self.toys.append(Toy(self.panel.needs.top))
            self.tallies[one.id] = Tally(self.panel.addresses, trial=trial)
        whole = np.arange(scene.batch + 1, dtype=np.int32) * PIECE
        prompts = np.concatenate([one.prompt.ids for one in self.sequences])
        self.panel.observe(self.sequences, Observation(whole, prompts), self.tallies)

    def step(self, clock: Clock) -> tuple[int, int]:
        """One round; tokens that came of it, and nodes."""
        began = time.perf_counter_ns()
        trees = self.panel.draft(self.sequences, self.budgets, self.tallies)
        trees, _ = self.panel.laws(self.sequences, trees, self.tallies)
        spent = time.perf_counter_ns() - began
        paths = []
        for one, tree, answer, toy in zip(
            self.sequences, trees, self.answers, self.toys, strict=True
        ):
            done = len(one.output)
            kept = walk(tree, answer[done:-1])
            one.cached += len(kept)
            one.extend(answer[done : done + len(kept)])
            toy.read(answer[done - 1 : done + len(kept)])
            paths.append(kept)
        seen = self.show(trees, paths)
        began = time.perf_counter_ns()
        for one, tree, kept in zip(self.sequences, trees, paths, strict=True):
            self.panel.learn(one, tree, kept)
        self.panel.observe(self.sequences, seen, self.tallies)
        clock.spent.append(spent + time.perf_counter_ns() - began)
        return sum(map(len, paths)), sum(map(len, trees))

    def show(self, trees: list[TokenTree], paths: list[np.ndarray]) -> Observation:
        """As the engine would, with the toys' ranks."""
        needs = self.panel.needs
        top = np.concatenate([toy.top(tree) for toy, tree in zip(self.toys, trees, strict=True)])
        ends = np.cumsum([0, *map(len, trees)]).astype(np.int32)
        tokens = np.concatenate([tree.tokens for tree in trees])
        kept = np.concatenate([first + path for first, path in zip(ends[:-1], paths, strict=True)])
        contexts = np.zeros((len(tokens), 0), np.int64)
        if needs.context:
            contexts = np.concatenate([
                tree.contexts(one.tokens[: one.cached - len(path) + 1], needs.context)
                for one, tree, path in zip(self.sequences, trees, paths, strict=True)
            ])  # fmt: skip
        return Observation(
            offsets=np.cumsum([0, *map(len, paths)]).astype(np.int32), tokens=tokens[kept],
            node_offsets=ends, node_tokens=tokens, top=top,
            chances=np.tile(LIKELY, (len(tokens), 1)) if needs.chances else top[:, :0],
            contexts=contexts,
        )  # fmt: skip


def drafters(folder: Path, text: np.ndarray, names: tuple[str, ...]) -> dict[str, Drafter]:
    """Some of those that run no model."""
    quoting = corpus.build(corpus.Config(paths=(str(folder),), remember=True), FACTS)
    for first in range(0, REMEMBERED, 500):
        quoting.ingest.put("", text[first : first + 500])
    quoting.ingest.settle()
    told: dict[str, Drafter] = {
        "suffix": suffix.build(suffix.Config(), FACTS),
        "recycling": recycling.build(recycling.Config(), FACTS),
        "corpus": quoting,
        "prediction": prediction.build(prediction.Config(), FACTS),
        "stand": stand.build(stand.Config(), FACTS),
    }
    return {f"retrieval.{name}": told[name] for name in names}


def share(spent: list[int], steps: int, batch: int) -> dict[str, float]:
    """Microseconds of a request-step, where one step took several calls."""
    clock = Clock()
    clock.spent = np.reshape(spent, (steps, -1)).sum(1).tolist()
    return clock.spread(1e3 * batch)


def play(scene: Scene, folder: Path, text: np.ndarray, remembered: np.ndarray) -> dict[str, object]:
    """Both runs of a scene."""
    steps, told = STEPS[scene.batch], {}
    parts: dict[str, Clock] = {}
    for timed in (True, False):
        everyone = drafters(folder, remembered, SETS[scene.drafters])
        stage, whole = Stage(scene, everyone, text), Clock()
        if timed:
            hooks = [
                ("fuse", stage.panel._fuser, "fuse_all"),
                ("learn", stage.panel._fuser, "learn"),
            ]
            for address, drafter in everyone.items():
                name = address.partition(".")[2]
                hooks += [(f"{name}, {what}", drafter, what) for what in ("draft", "observe")]
            for name, owner, what in hooks:
                parts[name] = Clock()
                setattr(owner, what, Timed(getattr(owner, what), parts[name]))
        counts = np.array([stage.step(whole) for _ in range(steps)])
        if timed:
            told = {name: share(clock.spent, steps, scene.batch) for name, clock in parts.items()}
            inside = np.sum([np.reshape(c.spent, (steps, -1)).sum(1) for c in parts.values()], 0)
            told["panel itself"] = share(
                (np.array(whole.spent) - inside).tolist(), steps, scene.batch
            )
    total = whole.spread()
    told["total"] = whole.spread(1e3 * scene.batch)
    told["step p50"], told["bar"] = total["p50"], BARS[scene.batch]
    told["tau"], told["nodes"] = (counts.mean(0) / scene.batch).round(2).tolist()
    return told


def bench_fuse() -> dict[str, object]:
    """Trees of 32, 32 and 16 nodes to one of 64."""
    noise, told = np.random.default_rng(SEED), {}
    groups = [
        [some_tree(noise, size, source) for source, size in enumerate((32, 32, 16))]
        for _ in range(100)
    ]
    for arm in ("union", "calibrated"):
        clock, table = Clock(), Calibration() if arm == "calibrated" else None
        how = Fusion(arm)  # type: ignore[arg-type]
        fuse(groups[0], Budget(64, 16), how, table)
        for turn in range(3000):
            trees = groups[turn % len(groups)]
            with clock:
                fused = fuse(trees, Budget(64, 16), how, table)
            if table is not None and fused.cells is not None:
                table.learn(
                    fused.cells, fused.tree.parents, walk(fused.tree, noise.integers(12, size=8))
                )
        told[arm] = {**clock.spread(), "within_20_p50": clock.spread()["p50"] <= 20}
    return told


def bench_observation() -> dict[str, object]:
    """From a verdict to what drafters are shown, and of that the scan of the logits."""
    told = {}
    text = read_text(PIECE)
    for batch in (1, 64):
        sequences = [Sequence(Request(f"{i}", Prompt(text)), 0, 0) for i in range(batch)]
        trees = [TokenTree.chain(text[-16:])] * batch
        paths, going = [np.arange(4)] * batch, list(range(batch))
        output = Output(torch.randn(batch * 16, VOCABULARY))
        rest, scan, width = Clock(), Clock(), recycling.Recycling.needs.top
        top_tokens(output.logits[:1], width)  # compiled before the clock starts
        for _ in range(40):
            with rest:
                observation(trees, paths, going, output, Needs(), sequences)
            with scan:
                top_tokens(output.logits, width)
        told[f"batch {batch}"] = {
            "scan": scan.spread(1e3 * batch), "rest": rest.spread(1e3 * batch),
        }  # fmt: skip
    return told


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    out: Path | None = parser.parse_args().out
    text = read_text(INDEXED + REMEMBERED + 64 * PIECE)
    indexed, remembered, pieces = np.split(text, [INDEXED, INDEXED + REMEMBERED])
    result: dict[str, object] = {
        "what": "drafting without models, microseconds a request-step: least, p50, p99",
        **provenance(), "command": "evals/bench/draft_path.py", "seed": SEED,
        "config": {"vocabulary": VOCABULARY, "prompt": PIECE, "depth": DEPTH, "indexed": INDEXED,
                   "remembered": REMEMBERED, "changed_one_in": CHANGED},
    }  # fmt: skip
    result["fuse 32+32+16 to 64 nodes"] = bench_fuse()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with Draft(folder, identity_of(FACTS), PUBLIC) as draft:
            for first in range(0, INDEXED, 5000):
                draft.add(indexed[first : first + 5000])
            Shelf(folder, identity_of(FACTS), PUBLIC).add(draft)
        for scene in SCENES:
            result[str(scene)] = play(scene, folder, pieces, remembered)
            print(scene, json.dumps(result[str(scene)], indent=1), flush=True)
    result["observation"] = bench_observation()
    print(json.dumps(result, indent=1))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
