"""What running streams feel when a long prompt enters: time between their tokens, one JSON.

Some texts stream; then a document enters, and they stream on until it has spoken its first token.
Arms in turn in one process: ``prefill_share`` 1 (a chunk of the prompt in every step) and less
(reading pauses while it owes the streams time), each without and with speculation. ``ratio`` is
the streams' seconds a token while the document is read over those before it came; ``worst`` the
longest gap; the newcomer's own wait is its time to the first token. Texts are held to be the same.

    python evals/bench/prompt_stall.py [--length 16384] [--streams 1] [--rounds 3] [--out FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from long import prompt
from skeleton import provenance

from mmspec.core.config import Config, EngineConfig, ModelConfig
from mmspec.core.request import Prompt, Request, Sampling, Speculation
from mmspec.engine.build import build
from mmspec.engine.pace import Pace

if TYPE_CHECKING:
    from mmspec.engine.engine import Engine

Told = dict[str, Any]
STREAM = Sampling(temperature=0.0, max_tokens=12_000, ignore_eos=True)
BRIEF = Sampling(temperature=0.0, max_tokens=2, ignore_eos=True)
BEFORE = 150  # tokens of every stream before the document enters


def scene(engine: Engine, newcomer: Prompt, streams: int, speculation: Speculation) -> Told:
    """Some streams and one document: milliseconds, and what the first stream said."""
    for number in range(streams):
        words = Prompt(np.random.default_rng(number).integers(10, 4000, 100))
        engine.submit(Request(f"stream {number}", words, STREAM, speculation))
    said: list[int] = []
    counts, at = dict.fromkeys(range(streams), 0), []  # (when, tokens) of the first stream's news
    entered = spoke = 0.0
    while not spoke:
        for delta in engine.step():
            if delta.error is not None:
                raise RuntimeError(delta.error)
            if delta.request_id == "document":
                spoke = spoke or (time.perf_counter() if delta.tokens else 0.0)
                continue
            number = int(delta.request_id.split()[1])
            counts[number] += len(delta.tokens)
            if number == 0 and delta.tokens:
                at.append((time.perf_counter(), len(delta.tokens)))
                said += delta.tokens
        if not entered and min(counts.values()) >= BEFORE:
            entered = time.perf_counter()
            engine.submit(Request("document", newcomer, BRIEF, Speculation(enabled=False)))
    engine.close()
    while engine.busy:
        engine.step()
    when, tokens = np.array([t for t, _ in at]), np.array([n for _, n in at])
    before, during = when <= entered, (when > entered) & (when <= spoke)
    before[: len(at) // 8] = False
    alone = np.ptp(when[before]) / tokens[before][1:].sum()
    beside = (spoke - entered) / max(1, tokens[during].sum())
    return {
        "alone_ms": 1e3 * alone,
        "beside_ms": 1e3 * beside,
        "ratio": beside / alone,
        "worst_ms": 1e3 * float(np.diff(when[when >= entered]).max(initial=0.0)),
        "first_token_s": spoke - entered,
        "said": said,
    }


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--length", type=int, default=16_384)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--shares", type=float, nargs="*", default=[1.0, EngineConfig().prefill_share]
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.device = "cpu"
    torch.set_num_threads(options.threads)
    engine, processor = build(
        Config(
            model=ModelConfig(path=options.model),
            engine=EngineConfig(prefix_cache=False, judge_rounds=0),
        )
    )
    ways = {"plain": Speculation(enabled=False), "speculating": Speculation()}
    arms = list(itertools.product(options.shares, ways))
    seen: dict[str, list[Told]] = {}
    for number in range(options.rounds):
        document = prompt(processor, number, options.length)
        texts = set()
        for share, way in arms:
            engine.scheduler.pace = Pace(share)
            told = scene(engine, document, options.streams, ways[way])
            said = told.pop("said")
            texts.add(tuple(said[:BEFORE]))
            seen.setdefault(f"{way}, share {share}", []).append(told)
            print(f"{way}, share {share}", told, flush=True)
        if len(texts) > 1:
            raise SystemExit("a stream's text depends on the arm")
    result = {
        "provenance": provenance(options, engine.target.model.config.model_type)
        | {"command": "evals/bench/prompt_stall.py"},
        "median": {
            arm: {key: statistics.median(one[key] for one in told) for key in told[0]}
            for arm, told in seen.items()
        },
        "rounds": seen,
    }
    print(json.dumps(result["median"], indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
