"""Which parts of the drafter of bounded memory pay: each changed alone, over seeds.

Every arm is `mmspec train longspec` with one change, the same steps and data. What counts is the
tau of greedy chains of ``DEPTH`` drafts (bonus included) along held-out answers, on positions as
they are, of its own tokens those that the drafter sees when it drafts: on short texts (the last of
``--data``), and on long ones (``--far``, a folder of answers in texts of up to 16,000 tokens).

    python evals/bench/ablate_longspec.py --data runs/longspec/answers --far runs/longspec/far \
        --steps 300 --out evals/results/long/retrained.json
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from retrained import Change, as_here, changed, command_line, course, folder_of, once, table, write

from mmspec.longctx.longspec_checkpoint import load_checkpoint
from mmspec.longctx.longspec_network import LongspecNetwork
from mmspec.model.load import load_model, load_processor
from mmspec.train.asked import Asked
from mmspec.train.capture import FrozenTarget
from mmspec.train.drafter_loop import Crew
from mmspec.train.longspec_stage import LongspecStage
from mmspec.train.reading import Reading
from mmspec.train.recipe_file import read
from mmspec.train.recipes import longspec
from mmspec.train.recipes.longspec import Recipe, train
from mmspec.train.responses import Responses
from mmspec.train.stretching import Stretching

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from mmspec.text.eagle_network import EagleNetwork

DEPTH, HELD, WIDE = 6, 64, 16_384
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
SHOWN = ("short_tau", "far_tau")


def learned(name: str, base: Recipe, seed: int, options: argparse.Namespace) -> Mapping[str, float]:
    """Train one arm and try it."""
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
        train(recipe, asked)
    finally:
        longspec.begin_far = begin
    network = load_checkpoint(folder / "drafter").float()
    short = Reading(rows=1, width=2048, held_out=HELD)
    far = msgspec.structs.replace(short, width=WIDE, held_out=options.far_held)
    return {
        f"{where}_{key.removeprefix('held_out_')}": value
        for where, data, how in (("short", options.data, short), ("far", options.far, far))
        for key, value in tried(network, recipe, asked, data, how).items()
    }


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


@torch.no_grad()
def tried(
    network: LongspecNetwork, recipe: Recipe, asked: Asked, data: Path, reading: Reading
) -> Mapping[str, float]:
    """Chains of ``DEPTH`` drafts along held-out answers, nothing standing in for other texts."""
    config = network.config
    target = FrozenTarget(load_model(asked.model), config.features, keys=config.reads)
    network.lend(target.embed, target.logits, target.norm)
    kept = None if config.draft_vocabulary is None else network.target_ids().to(target.device)
    plan = msgspec.structs.replace(
        recipe, reading=reading, spans=(), crowd=0.0, drawn=False, stretching=Stretching(share=0.0),
        mix=msgspec.structs.replace(recipe.mix, unroll=DEPTH, depth=DEPTH, features=0.0),
    )  # fmt: skip
    answers = Responses(data, load_processor(asked.model))
    stage = LongspecStage(network, target, answers, kept, plan, Crew(), lambda *_: None)
    return stage.trial()


def main() -> None:
    """Run the arms that are asked for and write the table."""
    parser = command_line(__doc__, ARMS, "runs/ablate_longspec")
    parser.add_argument("--far", type=Path, required=True)
    parser.add_argument("--far-held", type=int, default=HELD, help="long answers to try")
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = read(Recipe, "longspec.toml", options.config)
    base = msgspec.structs.replace(base, mix=as_here(base.mix, options.device))

    def run(name: str, seed: int) -> dict[str, Any]:
        one = partial(learned, name, base, seed, options)
        return once(folder_of(options.work, name, seed), one)

    told = {"depth": DEPTH, "arms": table(ARMS, options, run, SHOWN)}
    write(options, "evals/bench/ablate_longspec.py", base, told)


if __name__ == "__main__":
    main()
