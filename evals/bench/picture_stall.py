"""What a running stream feels when a picture enters: gaps between its tokens, one JSON.

A text streams alone; after some tokens a request with a picture that nobody has seen enters, and
the text streams on. Two arms, in turn in this process, on the same engine: the vision tower runs
in the step that admits its picture (``inline``, as it was before it had a thread) or beside the
steps (``beside``). Gaps are between the stream's news while the newcomer has not spoken (its
prefill included), beside the gaps of the stream alone; the newcomer's own wait is its time to the
first token. Run it on a machine with nothing else to do, with one thread and with all:

    python evals/bench/picture_stall.py [--model nano] [--threads 1] [--rounds 20] [--out FILE]

Nano's tower is small. ``--model clip-l`` puts random weights in a LLaVA whose tower is CLIP's
ViT-L/14 at 336 pixels (304 M weights, 576 tokens a picture) before a decoder of nano's shape.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from cases import descriptions
from skeleton import provenance
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from mmspec.core.config import Config, EngineConfig, ModelConfig
from mmspec.core.request import Media, Prompt, Request, Sampling
from mmspec.engine.build import build
from mmspec.engine.engine import Engine
from mmspec.engine.warm import warm
from mmspec.model.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

STREAM = Sampling(temperature=0.0, max_tokens=1800, ignore_eos=True)
BRIEF = Sampling(temperature=0.0, max_tokens=2, ignore_eos=True)
BEFORE = 40  # tokens of the stream before the picture enters
PLACEHOLDER = 4095
ENGINE = EngineConfig(prefix_cache=False, judge_rounds=0)


class Inline(Executor):
    """Runs what it is given at once, in the caller's thread."""

    def submit(self, fn: Callable[..., object], /, *args: object, **kwargs: object) -> Future:
        """A future that is done."""
        done: Future = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def random_clip_l() -> tuple[Engine, Callable[[int], Prompt]]:
    """A large tower before a small decoder, and prompts with a picture of noise each."""
    torch.manual_seed(0)
    tower = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=336, patch_size=14, projection_dim=768,
    )  # fmt: skip
    decoder = LlamaConfig(
        vocab_size=4096, hidden_size=256, intermediate_size=768, num_hidden_layers=10,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048,
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    config = LlavaConfig(text_config=decoder, vision_config=tower, image_token_id=PLACEHOLDER)
    model = LlavaForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    engine = Engine(Target(model), ENGINE, {})
    warm(engine)

    def prompt(index: int) -> Prompt:
        pixels = torch.randn(1, 3, 336, 336, generator=torch.Generator().manual_seed(index))
        words = np.random.default_rng(index).integers(10, 4000, 40)
        ids = np.concatenate([np.full(576, PLACEHOLDER), words])
        return Prompt(ids, (Media(str(index), 0, 576, {"pixel_values": pixels}),))

    return engine, prompt


def bundled(path: str) -> tuple[Engine, Callable[[int], Prompt]]:
    """A model with its processor, and prompts with a picture each from held-out seeds."""
    config = Config(model=ModelConfig(path=path), engine=ENGINE, drafters={})
    engine, processor = build(config)
    made: list[Prompt] = []

    def prompt(index: int) -> Prompt:
        if index >= len(made):
            made.extend(descriptions(processor, index + 32)[len(made) :])
        return made[index]

    return engine, prompt


def scene(engine: Engine, newcomer: Prompt) -> dict[str, float]:
    """One stream and one picture; milliseconds."""
    words = Prompt(np.random.default_rng(7).integers(10, 4000, 100))
    engine.submit(Request("stream", words, STREAM))
    at: list[float] = []
    entered = spoke = 0.0
    while spoke == 0.0 or len(at) < 2 * BEFORE:
        for delta in engine.step():
            if delta.request_id == "stream":
                at.append(time.perf_counter())
            elif spoke == 0.0:
                spoke = time.perf_counter()
            if delta.error is not None:
                raise RuntimeError(delta.error)
        if entered == 0.0 and len(at) == BEFORE:
            entered = time.perf_counter()
            engine.submit(Request("picture", newcomer, BRIEF))
    engine.close()
    while engine.busy:
        engine.step()
    gaps = 1e3 * np.diff(at)
    during = gaps[BEFORE - 1 :][np.array(at[BEFORE - 1 : -1]) < spoke]
    return {
        "alone_median": float(np.median(gaps[5 : BEFORE - 1])),
        "during_median": float(np.median(during)),
        "during_worst": float(during.max()),
        "news_during": float(len(during)),
        "first_token": 1e3 * (spoke - entered),
    }


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.device = "cpu"
    torch.set_num_threads(options.threads)
    made = random_clip_l() if options.model == "clip-l" else bundled(options.model)
    engine, prompt = made
    arms = {"inline": Inline(), "beside": engine.encoder.worker}
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for number in range(options.rounds + 1):  # the first round warms up
        for place, (name, worker) in enumerate(arms.items()):
            engine.encoder.worker = worker
            told = scene(engine, prompt(2 * number + place))
            if number:
                seen[name].append(told)
    if engine.encoder.hits:
        raise RuntimeError("a picture was known already")
    result = {
        "provenance": provenance(options, engine.target.model.config.model_type)
        | {"command": "evals/bench/picture_stall.py"},
        "rounds": options.rounds,
        "picture_bytes": engine.encoder.bytes // engine.encoder.misses,
        "tower_ms": 1e3 * engine.encoder.seconds / engine.encoder.misses,
        "ms": {
            name: {key: statistics.median(one[key] for one in told) for key in told[0]}
            for name, told in seen.items()
        },
        "rounds_ms": seen,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "rounds_ms"}, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
