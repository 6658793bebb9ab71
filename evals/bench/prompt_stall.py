"""What running streams feel when a long prompt enters: time between their tokens, one JSON.

Some texts stream; then a document enters, and they stream on until it has spoken its first token.
Arms in turn in one process: ``prefill_share`` 1 (a chunk of the prompt in every step) and less
(reading pauses while it owes the streams time), each without and with speculation. ``ratio`` is
the first stream's seconds over the tokens that came while the document was read, over those of the
same tokens without a document; ``worst_ms`` its longest gap; the newcomer's own wait is its time
to the first token. Texts are held to be the same.

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
STREAM = Sampling(temperature=0.0, max_tokens=24_000, ignore_eos=True)
BRIEF = Sampling(temperature=0.0, max_tokens=2, ignore_eos=True)
BEFORE = 150  # tokens of every stream before the document enters


def scene(engine: Engine, newcomer: Prompt, streams: int, speculation: Speculation) -> Told:
    """Some streams and one document, then the same streams without it, over the same tokens."""
    said, at, entered, spoke = stream(engine, newcomer, streams, speculation, 0)
    first, last = np.searchsorted(at, entered), np.searchsorted(at, spoke)
    if len(said) == STREAM.max_tokens:
        raise SystemExit("a stream ended before the document spoke")
    alone, when, _, _ = stream(engine, None, streams, speculation, len(said))
    if alone[: len(said)] != said:
        raise SystemExit("a stream's text depends on who else is there")
    # Of one step's tokens all carry its time.
    without = when[last - 1] - when[first - 1]
    return {
        "tokens": int(last - first),
        "beside_ms": 1e3 * float(at[last - 1] - at[first - 1]) / (last - first),
        "alone_ms": 1e3 * float(without) / (last - first),
        "ratio": float((at[last - 1] - at[first - 1]) / without),
        "worst_ms": 1e3 * float(np.diff(at[first - 1 : last]).max()),
        "first_token_s": spoke - entered,
    }


def stream(
    engine: Engine, newcomer: Prompt | None, streams: int, speculation: Speculation, count: int
) -> tuple[list[int], np.ndarray, float, float]:
    """The first stream's tokens and when each came; when the document entered and spoke.

    Without a newcomer it ends after ``count`` tokens.
    """
    for number in range(streams):
        words = Prompt(np.random.default_rng(number).integers(10, 4000, 100))
        engine.submit(Request(f"stream {number}", words, STREAM, speculation))
    said: list[int] = []
    at: list[float] = []
    entered = spoke = 0.0
    while not spoke if newcomer is not None else len(said) < count:
        for delta in engine.step():
            if delta.error is not None:
                raise RuntimeError(delta.error)
            if delta.request_id == "document":
                spoke = spoke or (time.perf_counter() if delta.tokens else 0.0)
            elif delta.request_id == "stream 0":
                said += delta.tokens
                at += [time.perf_counter()] * len(delta.tokens)
        if newcomer is not None and not entered and len(said) >= BEFORE:
            entered = time.perf_counter()
            engine.submit(Request("document", newcomer, BRIEF, Speculation(enabled=False)))
    engine.close()
    while engine.busy:
        engine.step()
    return said, np.array(at), entered, spoke


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
        for share, way in arms:
            engine.scheduler.pace = Pace(share)
            told = scene(engine, document, options.streams, ways[way])
            seen.setdefault(f"{way}, share {share}", []).append(told)
            print(f"{way}, share {share}", told, flush=True)
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
