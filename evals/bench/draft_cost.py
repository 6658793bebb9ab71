"""What one level of a drafter's tree costs beside one step of the target, on this machine.

A drafter that has read a text drafts trees of growing depth from it, in turn with steps of the
target on the same text. A level's cost is what trees of depth 2 take more than those of depth 1,
its share that of a plain step (one node). Nothing is verified: drafting leaves no trace.

    python evals/bench/draft_cost.py --drafter text.eagle=nano-eagle [--context 512] [--out FILE]
    python evals/bench/draft_cost.py --drafter longctx.self_window --context 16384
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from skeleton import provenance

from mmspec.core.config import Config, EngineConfig, ModelConfig
from mmspec.core.drafter import Budget, Drafter, Observation
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.engine.build import build, build_drafters
from mmspec.model.batch import pack_trees
from mmspec.model.keys import Keys
from mmspec.model.prefill import Prefill

if TYPE_CHECKING:
    from mmspec.core.drafter import Borrower
    from mmspec.model.target import Target

DEPTHS = (1, 2, 3, 4, 5, 6, 8)
Times = dict[str, list[float]]


def read(target: Target, drafter: Drafter, sequences: list[Sequence], chunk: int) -> object:
    """Prefill the sequences in a cache of their own, the drafter watching; returns the cache."""
    longest = max(len(sequence) for sequence in sequences)
    cache = target.new_cache(len(sequences) * (longest + 64), chunk, 64)
    if drafter.needs.keys:
        cast("Borrower", drafter).borrow(Keys(cache))
    for sequence in sequences:
        cache.open(sequence.id, len(sequence))
        prefill = Prefill(target, sequence)
        while sequence.pending > 1:
            stop = min((sequence.cached // chunk + 1) * chunk, len(sequence) - 1)
            told = target.forward(prefill.chunk(stop, cache), cache, drafter.needs)
            count = stop - sequence.cached
            cache.commit(sequence.id, np.arange(count))
            tokens = sequence.tokens[sequence.cached : stop]
            sequence.cached = stop
            offsets = np.array([0, count], np.int32)
            drafter.observe([sequence], Observation(offsets, tokens, told.hidden))
    return cache


def measure(
    target: Target, drafter: Drafter, sequences: list[Sequence], cache: object, rounds: int
) -> tuple[Times, dict[str, float]]:
    """Seconds of plain steps, 16-node verifies and drafts of each depth; mean depths reached."""
    times: Times = {}
    reached: dict[str, list[float]] = {}
    parents = np.array([-1, *((node - 1) // 2 for node in range(1, 16))], np.int32)
    zero = np.zeros(16, np.float32)
    roots = [TokenTree.root(int(sequence.tokens[-1])) for sequence in sequences]
    bushes = [
        TokenTree(np.append(s.tokens[-1], np.arange(20, 35)), parents, zero, zero.astype(np.uint8))
        for s in sequences
    ]
    for _ in range(rounds):
        for name, trees in (("step", roots), ("verify 16", bushes)):
            batch = pack_trees(sequences, trees, cache, reach=16, grouped=True, axes=1)
            began = time.perf_counter()
            target.forward(batch, cache).logits.sum().item()
            times.setdefault(name, []).append(time.perf_counter() - began)
        for depth in DEPTHS:
            began = time.perf_counter()
            trees = drafter.draft(sequences, [Budget(16, depth)] * len(sequences))
            times.setdefault(f"draft {depth}", []).append(time.perf_counter() - began)
            deep = [float(tree.depths().max()) for tree in trees]
            reached.setdefault(f"draft {depth}", []).append(statistics.fmean(deep))
    return times, {name: statistics.fmean(values) for name, values in reached.items()}


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--drafter", required=True, metavar="ADDRESS=PATH")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.device = "cpu"
    torch.set_num_threads(options.threads)
    address, _, path = options.drafter.partition("=")
    wing, _, name = address.partition(".")
    config = Config(model=ModelConfig(path=options.model), engine=EngineConfig(), drafters={})
    engine, _ = build(config)
    target = engine.target
    # Nothing is too unlikely: every depth is reached, whatever the weights think of this text.
    where = {"path": path} if path else {}
    table = {wing: {name: {**where, "floor": 1e-30, "least": 0.0}}}
    (drafter,) = build_drafters(table, target.facts).values()
    draw = np.random.default_rng(0)
    sampling = Sampling(temperature=options.temperature, max_tokens=64, seed=1)
    sequences = []
    for index in range(options.batch):
        ids = draw.integers(20, target.facts.vocabulary, options.context)
        sequences.append(Sequence(Request(f"cost-{index}", Prompt(ids), sampling), 0, 1))
    with torch.inference_mode():
        cache = read(target, drafter, sequences, 256)
        measure(target, drafter, sequences, cache, 5)
        times, reached = measure(target, drafter, sequences, cache, options.rounds)
    middle = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    # Deeper budgets also expand nodes that the tree drops: only these two differ by a level.
    level = middle["draft 2"] - middle["draft 1"]
    result = {
        "provenance": provenance(options, target.model.config.model_type)
        | {"command": "evals/bench/draft_cost.py", "drafter": options.drafter},
        "context": options.context,
        "batch": options.batch,
        "temperature": options.temperature,
        "ms": middle,
        "reached": reached,
        "level_ms": level,
        "level_share_of_step": level / middle["step"],
        "tree_of_5_share_of_step": middle["draft 5"] / middle["step"],
    }
    print(json.dumps(result, indent=1))
    print(f"a draft level costs {result['level_share_of_step']:.1%} of a target step")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
