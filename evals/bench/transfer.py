"""RAPID's transfer: what tilting the target's law by a small reader's costs and buys.

Facts asked of documents of some 6,000 tokens, at temperature 0 and 1, for each eta; eta 0 is the
target's own law, and must be plain decoding's text. Accuracy: the answer holds the deciding value.

    python evals/bench/transfer.py [--count 12] [--out evals/results/long/transfer.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from arms import Run, decode, speed
from long import RAPID
from skeleton import provenance

from mmspec.core.config import Config, EngineConfig, ModelConfig
from mmspec.core.request import Sampling, Speculation
from mmspec.engine.build import build
from mmspec.train.data import documents
from mmspec.train.data.seeds import example_seed

FIRST = 31_000_000  # held-out seeds that nothing else looks at
ETAS = (0.0, 5.0, 10.0, 20.0)


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ranker", default="lexical")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.device = "cpu"
    torch.set_num_threads(options.threads)
    engine, processor = build(
        Config(
            model=ModelConfig(path=options.model),
            engine=EngineConfig(max_sequences=2, transfer=True, judge_rounds=0),
            drafters={"longctx": {"rapid": RAPID | {"ranker": options.ranker}}},
        )
    )
    arms = {"plain": Speculation(enabled=False), "rapid": Speculation()}
    arms |= {f"eta {eta:g}": Speculation(transfer=eta) for eta in ETAS}
    result: dict[str, object] = {"provenance": provenance(options, "llava")}
    runs: dict[tuple[float, str], list[Run]] = {}
    right: dict[tuple[float, str], int] = {}
    for index in range(options.count):
        seed = example_seed("held_out", FIRST + index)
        document, pairs = documents.document(seed, options.tokens)
        asked = next(pair for pair in pairs if pair.kind == "fact")
        said = [{"role": "user", "content": f"{document.text}\n\n{asked.question}"}]
        prompt = processor.chat(said, [])
        engine.reset()
        for temperature in (0.0, 1.0):
            sampling = Sampling(temperature=temperature, seed=1, max_tokens=64)
            for name, arm in arms.items():
                run = decode(engine, [prompt], arm, sampling)
                runs.setdefault((temperature, name), []).append(run)
                text = processor.decode(list(run.ids[0]))
                hit = f"The answer is {asked.value}." in text
                right[temperature, name] = right.get((temperature, name), 0) + hit
    for temperature in (0.0, 1.0):
        plain = runs[temperature, "plain"]
        for name in ("rapid", "eta 0"):
            if [run.ids for run in runs[temperature, name]] != [run.ids for run in plain]:
                raise SystemExit(f"{name}: text differs from plain decoding")
        result[f"T={temperature:g}"] = {
            name: {"accuracy": right[temperature, name] / options.count}
            | speed(runs[temperature, name], plain)
            for name in arms
        }
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
