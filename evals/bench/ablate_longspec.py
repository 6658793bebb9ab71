"""Which parts of the drafter of bounded memory pay: each changed alone, over seeds.

Every arm is `mmspec train longspec` with one change, the same steps and data. What counts is tau,
the bonus included, of decoding with that drafter alone at temperature 0: the section of a document
that is to be repeated, as in `long.py`, at every length. A document is read once for all arms.

    python evals/bench/ablate_longspec.py --data runs/longspec/answers --steps 300 \
        --lengths 2048 8192 --out evals/results/long/retrained.json
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from arms import Run, decode
from long import prompt
from retrained import Change, as_here, changed, command_line, course, folder_of, once, table, write

from mmspec.core.config import Config, EngineConfig, ModelConfig
from mmspec.core.request import Sampling, Speculation
from mmspec.engine.build import build, build_drafter
from mmspec.engine.draft import Panel
from mmspec.longctx.longspec_network import LongspecNetwork
from mmspec.train.asked import Asked
from mmspec.train.recipe_file import read
from mmspec.train.recipes import longspec
from mmspec.train.recipes.longspec import Recipe, train

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from mmspec.text.eagle_network import EagleNetwork

ADDRESS, ANSWER = "longctx.longspec", Sampling(temperature=0.0, max_tokens=400)
SOFTLY = 0.25
PLAIN: Change = {"fitted": False, "mix": {"unroll": 1}}  # a stream of embeddings: as published
ARMS: dict[str, Change] = {
    "nothing changed": {},
    "cross-attention off": {"fitted": False},
    "not fitted at first": {"fitted": False},
    "reads the last layer": {"reads": None},
    "own window 128": {"span": 128, "spans": [16, 64, 128]},
    "own window 2048": {"span": 2048, "spans": [16, 64, 2048]},
    "own window 512, never less": {"spans": [512]},
    "no crowd": {"crowd": 0.0},
    "positions as they are": {"stretching": {"share": 0.0}},
    "anchors offset (LongSpec)": {"stretching": {"anywhere": 0.0}},
    "no features, shift off": PLAIN,
    "no features, shift U{1..4}": PLAIN | {"drawn": True, "mix": {"unroll": 1, "depth": 4}},
    "no features, shift U{1..16}": PLAIN | {"drawn": True, "mix": {"unroll": 1, "depth": 16}},
}


def learned(name: str, base: Recipe, seed: int, options: argparse.Namespace) -> Mapping[str, float]:
    """Train one arm: the last trial's numbers."""
    folder = folder_of(options.work, name, seed)
    told = course(msgspec.to_builtins(base), seed, options.steps)
    recipe = msgspec.convert(changed(told, ARMS[name]), Recipe)
    begin = longspec.begin_far
    if name == "cross-attention off":
        longspec.begin_far = lambda *given: deaf(begin(*given))
    if name.startswith("no features"):
        longspec.begin_far = lambda *given: featureless(begin(*given))
    asked = Asked(options.target, folder, options.device, None, options.data)
    try:
        return train(recipe, asked)
    finally:
        longspec.begin_far = begin


def deaf(network: LongspecNetwork) -> LongspecNetwork:
    """The network, to which what it reads of the target says nothing, now and later."""
    torch.nn.init.zeros_(network.cross_o.weight)
    network.cross_o.requires_grad_(False)
    return network


def featureless(begun: EagleNetwork | LongspecNetwork) -> LongspecNetwork:
    """A network as published: its stream begins with embeddings; else the same weights.

    The head speaks softly: to it, an embedding is a state that it has never seen.
    """
    config = begun.config
    network = LongspecNetwork(msgspec.structs.replace(config, features=()))
    mine = network.state_dict()
    given = begun.state_dict()
    fit = {k: v for k, v in given.items() if k in mine and mine[k].shape == v.shape}
    network.load_state_dict(mine | fit)
    if network.head is not None:
        with torch.no_grad():
            network.head.weight.mul_(SOFTLY)
    return network


def taus(folders: dict[str, Path], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Tau of decoding with each arm's drafter alone, by length."""
    model = ModelConfig(path=options.target)
    engine, processor = build(
        Config(model=model, engine=EngineConfig(max_sequences=2, judge_rounds=0), drafters={})
    )
    facts = engine.target.facts
    panels = {
        name: Panel({ADDRESS: build_drafter(ADDRESS, {"path": str(one)}, facts)},
                    facts.vocabulary, cache=engine.cache)
        for name, one in folders.items()
    }  # fmt: skip
    own, speculation = engine.panel, Speculation(drafters=(ADDRESS,))
    told: dict[str, dict[str, float]] = {name: {} for name in panels}
    for length in options.lengths:
        runs: dict[str, list[Run]] = {name: [] for name in panels}
        for number in range(options.count):
            asked = prompt(processor, number, length)
            engine.panel = own
            engine.reset()
            plain = decode(engine, [asked], Speculation(enabled=False), ANSWER)
            for name, engine.panel in panels.items():
                runs[name].append(decode(engine, [asked], speculation, ANSWER))
                if runs[name][-1].ids != plain.ids:
                    raise SystemExit(f"{name}: text differs from plain decoding")
        for name, some in runs.items():
            emitted, rounds = (sum(getattr(r, k) for r in some) for k in ("emitted", "rounds"))
            told[name][f"tau at {length}"] = emitted / rounds
        print(length, {name: round(one[f"tau at {length}"], 3) for name, one in told.items()})
    return told


def main() -> None:
    """Train the arms that are asked for, decode with each, and write the table."""
    parser = command_line(__doc__, ARMS, "runs/ablate_longspec")
    parser.add_argument("--lengths", type=int, nargs="*", default=[2048, 8192])
    parser.add_argument("--count", type=int, default=3, help="documents of a length")
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = read(Recipe, "longspec.toml", options.config)
    base = msgspec.structs.replace(base, mix=as_here(base.mix, options.device))

    def run(name: str, seed: int) -> dict[str, Any]:
        one = partial(learned, name, base, seed, options)
        return once(folder_of(options.work, name, seed), one)

    told = table(ARMS, options, run, ("held_out_tau",))
    for seed in options.seeds:
        folders = {n: folder_of(options.work, n, seed) / "drafter" for n in told}
        for name, found in taus(folders, options).items():
            told[name].setdefault("decoding", []).append(found)
    write(options, "evals/bench/ablate_longspec.py", base, {"arms": told})


if __name__ == "__main__":
    main()
