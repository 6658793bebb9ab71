"""Vision drafters side by side on the same held-out pictures, and what a trained one leans on.

Arms are checkpoints given by name, and the first of them with parts taken away without training
anew: its tokens of a picture, its vector, what its reader reads. All run in turn in one process;
every arm's ids are held to plain decoding's. What an arm loses is what the drafter leans on, not
what the part is worth: retrained without it, it might do as well (`ablate_vispec.py`).

    python evals/bench/eyes.py --eyes shipped=nano-vispec flash=runs/flash/drafter \
        [--count 20] [--threads 1] [--out evals/results/vispec/eyes.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch
from arms import decode, speed
from pictures import ARMS, scenes
from skeleton import provenance

from mmspec.core.config import Config, EngineConfig, ModelConfig
from mmspec.core.request import Sampling
from mmspec.engine.build import build, build_drafters
from mmspec.engine.draft import Panel
from mmspec.model.load import locate
from mmspec.vision.vispec_checkpoint import load_checkpoint, save_checkpoint
from mmspec.vision.vispec_network import VispecNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

EYES = "vision.vispec"


def without_vector(network: VispecNetwork) -> VispecNetwork:
    """Its vector of a picture is 0."""
    network.sight.lean.weight.data.zero_()
    return network


def without_tokens(network: VispecNetwork) -> VispecNetwork:
    """It keeps no token of a picture; its vector is read as before."""
    sight = msgspec.structs.replace(network.config.sight, how="none", tokens=0)
    made = VispecNetwork(msgspec.structs.replace(network.config, sight=sight))
    state = network.float().state_dict()
    state["sight.query"] = state["sight.query"][-1:]
    made.load_state_dict(state)
    return made


def embeddings_alone(network: VispecNetwork) -> VispecNetwork:
    """Its reader sees none of the target's features of a picture."""
    network.sight.gates.data.zero_()
    return network


def features_alone(network: VispecNetwork) -> VispecNetwork:
    """Its reader sees no embeddings of a picture."""
    network.sight.k_proj.weight.data.zero_()
    network.sight.v_proj.weight.data.zero_()
    return network


def vector_of_embeddings(network: VispecNetwork) -> VispecNetwork:
    """All that is left is a vector, read from embeddings alone."""
    kept = without_tokens(network)
    sight = msgspec.structs.replace(kept.config.sight, keys="embeds")
    made = VispecNetwork(msgspec.structs.replace(kept.config, sight=sight))
    state = kept.state_dict()
    made.load_state_dict({name: state[name] for name in made.state_dict()})
    return made


PARTS: dict[str, Callable[[VispecNetwork], VispecNetwork]] = {
    "no vector": without_vector,
    "no tokens": without_tokens,
    "neither": lambda network: without_tokens(without_vector(network)),
    "vector of embeddings alone": vector_of_embeddings,
    "reader of embeddings alone": embeddings_alone,
    "reader of features alone": features_alone,
}


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--eyes", nargs="+", default=["shipped=nano-vispec"])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--cap", type=int, default=320)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.device = "cpu"
    torch.set_num_threads(options.threads)
    engine, processor = build(
        Config(
            model=ModelConfig(path=options.model),
            engine=EngineConfig(prefix_cache=False, judge_rounds=0),
            drafters={"vision": {"vispec": {"path": options.eyes[0].partition("=")[2]}}},
        )
    )
    facts, panels = engine.target.facts, {"plain": engine.panel}
    paths = dict(arm.split("=", 1) for arm in options.eyes)
    with tempfile.TemporaryDirectory() as folder:
        first, path = next(iter(paths.items()))
        for name, take in PARTS.items():
            changed = Path(folder) / str(len(paths))
            save_checkpoint(changed, take(load_checkpoint(Path(locate(path)))))
            paths[f"{first}, {name}"] = str(changed)
        for name, path in paths.items():
            drafters = build_drafters({"vision": {"vispec": {"path": path}}}, facts)
            panels[name] = Panel(drafters, facts.vocabulary)
    prompts = scenes(processor, options.count)
    result: dict[str, object] = {
        "provenance": provenance(options, engine.target.model.config.model_type)
    }
    for temperature in (0.0, 1.0):
        sampling = Sampling(temperature=temperature, max_tokens=options.cap, seed=0)
        runs = {name: [] for name in panels}
        for turn, prompt in enumerate([*prompts[:1], *prompts]):
            for name, panel in panels.items():
                engine.panel = panel
                arm = ARMS["plain" if name == "plain" else "vision drafter"]
                run = decode(engine, [prompt], arm, sampling)
                if turn:  # the first prompt warms up
                    runs[name].append(run)
        told: dict[str, object] = {}
        for name, own in runs.items():
            if any(a.ids != b.ids for a, b in zip(own, runs["plain"], strict=True)):
                raise SystemExit(f"{name}: text differs from plain decoding")
            told[name] = speed(own, runs["plain"])
        result[f"T={temperature:g}"] = told
        print(f"T={temperature:g}", json.dumps(told, indent=1), flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
