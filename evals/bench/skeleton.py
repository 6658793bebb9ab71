"""What the walking skeleton costs and gains, on this machine: one JSON and one table.

Both arms of every ratio run in this process, in turn, on the same prompts with the same caps and
stop rule; a ratio is that of summed seconds, and its spread is the range over rounds. Decode rates
leave prefill out (time from a request's first token to its last, tokens counted as ids).

    python evals/bench/skeleton.py [--model nano] [--rounds 5] [--out evals/results/skeleton.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from cases import descriptions, document_questions, fact_questions, mixed
from provenance import provenance
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from mmspec.core.config import Config, EngineConfig, ModelConfig
from mmspec.core.request import Prompt, Request, Sampling, Speculation
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.engine.build import build
from mmspec.model.batch import pack_trees
from mmspec.model.load import locate
from mmspec.model.prefill import Prefill

if TYPE_CHECKING:
    from mmspec.engine.engine import Engine

CAP = 256  # tokens of an answer
OFF = Speculation(enabled=False)
Arm = Callable[[], tuple[float, int]]  # seconds and tokens of one run


def decode(
    engine: Engine, prompts: list[Prompt], cap: int, speculation: Speculation, ignore_eos: bool
) -> tuple[float, int, dict[str, float]]:
    """Run prompts together; seconds between first and last token, tokens after the first."""
    sampling = Sampling(temperature=0.0, max_tokens=cap, ignore_eos=ignore_eos)
    for index, prompt in enumerate(prompts):
        engine.submit(Request(f"bench-{index}", prompt, sampling, speculation))
    began, tokens, passes = 0.0, 0, 0
    spoken: set[str] = set()
    before = (engine.stats.model_seconds, engine.stats.step_seconds)
    while engine.busy:
        for delta in engine.step():
            tokens += len(delta.tokens)
            spoken.add(delta.request_id)
            if delta.report is not None:
                passes += delta.report.rounds
        if began == 0.0 and len(spoken) == len(prompts):
            # Everybody has spoken once: prefill is over, the clock starts.
            began = time.perf_counter()
            before = (engine.stats.model_seconds, engine.stats.step_seconds)
            first = tokens
    seconds = time.perf_counter() - began
    model = engine.stats.model_seconds - before[0]
    step = engine.stats.step_seconds - before[1]
    more = {"outside": 1 - model / step, "tokens": tokens, "passes": passes}
    return seconds, tokens - first, more


def reference(model: torch.nn.Module, prompt: Prompt, cap: int) -> tuple[float, int]:
    """``transformers`` greedy generate; decode seconds are a long run's less a one-token run's."""
    ids = torch.from_numpy(prompt.ids)[None].to(model.device)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if prompt.media:
        pixels = torch.cat([media.inputs["pixel_values"] for media in prompt.media])
        given["pixel_values"] = pixels.to(model.device, model.dtype)
    seconds = []
    for count in (1, cap):
        began = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                **given, max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0
            )
        seconds.append(time.perf_counter() - began)
    return seconds[1] - seconds[0], cap - 1


def versus(name: str, arms: dict[str, Arm], rounds: int) -> dict[str, object]:
    """Interleave arms; tokens a second of each, and the first over the second with its range."""
    runs: dict[str, list[tuple[float, int]]] = {arm: [] for arm in arms}
    for index in range(rounds):
        order = list(arms) if index % 2 == 0 else list(reversed(arms))
        for arm in order:
            runs[arm].append(arms[arm]())
    rate = {
        arm: sum(tokens for _, tokens in run) / sum(seconds for seconds, _ in run)
        for arm, run in runs.items()
    }
    first, second = arms
    ratios = [(a[1] / a[0]) / (b[1] / b[0]) for a, b in zip(runs[first], runs[second], strict=True)]
    result = {
        "ratio": rate[first] / rate[second],
        "low": min(ratios),
        "high": max(ratios),
        "tokens_per_second": rate,
        "rounds": rounds,
    }
    print(f"{name}: {result['ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f})  {rate}")
    return result


def verify_cost(
    engine: Engine, sizes: tuple[int, ...], context: int, rounds: int
) -> dict[str, float]:
    """Median milliseconds of one target pass over trees of each size, in turn."""
    ids = np.random.default_rng(0).integers(10, 4000, context)
    sequence = Sequence(Request("verify", Prompt(ids)), 0, 0)
    cache, target = engine.cache, engine.target
    cache.open(sequence.id, context)
    prefill = Prefill(target, sequence)
    while sequence.pending > 1:
        stop = min((sequence.cached // 256 + 1) * 256, context - 1)
        target.forward(prefill.chunk(stop, cache), cache)
        cache.commit(sequence.id, np.arange(stop - sequence.cached))
        sequence.cached = stop
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    grouped = target.numerics == "bitwise"
    for _ in range(rounds):
        for size in sizes:
            parents = np.array([-1, *((i - 1) // 2 for i in range(1, size))], np.int32)
            zero = np.zeros(size, np.float32)
            tree = TokenTree(ids[-size:].copy(), parents, zero, zero.astype(np.uint8))
            tree.tokens[0] = ids[-1]
            batch = pack_trees([sequence], [tree], cache, reach=16, grouped=grouped, axes=1)
            began = time.perf_counter()
            target.forward(batch, cache).logits.sum().item()  # waits for a GPU too
            seconds[size].append(time.perf_counter() - began)
    cache.free(sequence.id)
    return {str(size): 1e3 * statistics.median(times) for size, times in seconds.items()}


def main() -> None:
    """Run everything and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cap", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cuda runs the same arms on a GPU")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engines = {}
    for numerics in ("bitwise", "near-tie"):
        model = ModelConfig(path=options.model, numerics=numerics, device=options.device)
        engines[numerics], processor = build(
            Config(model=model, engine=EngineConfig(prefix_cache=False, judge_rounds=0))
        )
    bitwise = engines["bitwise"]
    spec = bitwise.target.model.config
    kind = AutoModelForImageTextToText if processor.accepts_images else AutoModelForCausalLM
    plain = kind.from_pretrained(locate(options.model), dtype=torch.bfloat16)
    plain = plain.eval().to(options.device)
    rounds, cap = options.rounds, options.cap
    result: dict[str, object] = {"provenance": provenance(options, spec.model_type)}
    prompts = mixed(processor, 8)

    def run(engine: Engine, batch: int, speculation: Speculation = OFF) -> Arm:
        def arm() -> tuple[float, int]:
            chosen = (prompts * -(-batch // len(prompts)))[:batch]
            return decode(engine, chosen, cap, speculation, True)[:2]

        return arm

    one = run(bitwise, 1)
    result["plain_vs_transformers"] = versus(
        "plain decoding, ours over transformers generate, batch 1",
        {"ours": one, "transformers": lambda: reference(plain, prompts[0], cap)},
        rounds,
    )
    eight = {"8": run(bitwise, 8), "1": one}
    result["batch_8_vs_1"] = versus("batch 8 over batch 1", eight, rounds)
    for batch in (1, 8, 32):
        result[f"near_tie_vs_bitwise_{batch}"] = versus(
            f"near-tie over bitwise, batch {batch}",
            {"near-tie": run(engines["near-tie"], batch), "bitwise": run(bitwise, batch)},
            rounds,
        )
    for batch in (8, 32):
        result[f"speculation_batch_{batch}"] = versus(
            f"speculation on over off, mixed prompts, batch {batch}",
            {"on": run(bitwise, batch, Speculation()), "off": run(bitwise, batch)},
            rounds,
        )
    outside = [decode(bitwise, prompts[:1], cap, OFF, True)[2]["outside"] for _ in range(rounds)]
    result["outside_forward_share"] = statistics.median(outside)
    result["verify_ms_at_512"] = verify_cost(bitwise, (1, 4, 8, 16), 512, 40)
    for name, cases in (
        ("facts", fact_questions(processor, 40)),
        ("documents", document_questions(processor, 20)),
        ("descriptions", descriptions(processor, 20)),
    ):
        result[name] = speculation_gain(name, bitwise, cases, rounds)
    result["memory"] = memory(bitwise)
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def speculation_gain(
    name: str, engine: Engine, cases: list[Prompt], rounds: int
) -> dict[str, object]:
    """Speculation on over off, one request at a time, texts ending where they end."""
    counted = {"tokens": 0, "passes": 0, "at_cap": 0}

    def arm(speculation: Speculation) -> Arm:
        def timed() -> tuple[float, int]:
            seconds, tokens = 0.0, 0
            for case in cases:
                spent, said, more = decode(engine, [case], CAP, speculation, False)
                seconds, tokens = seconds + spent, tokens + said
                if speculation.enabled:
                    counted["tokens"] += int(more["tokens"])
                    counted["passes"] += int(more["passes"])
                    counted["at_cap"] += more["tokens"] >= CAP
            return seconds, tokens

        return timed

    result = versus(name, {"on": arm(Speculation()), "off": arm(OFF)}, min(rounds, 3))
    result["tau"] = counted["tokens"] / counted["passes"]
    result["cases"] = len(cases)
    result["share_at_cap"] = counted["at_cap"] / (len(cases) * min(rounds, 3))
    return result


def memory(engine: Engine) -> dict[str, float]:
    """Peak resident MiB of this process (which also holds the arms compared with)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    weights = sum(p.numel() * p.itemsize for p in engine.target.model.parameters()) / 2**20
    return {"peak_mib_all_arms": peak, "weights_mib": weights}


if __name__ == "__main__":
    main()
