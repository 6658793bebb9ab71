r"""Which parts of the drafter that sees pay: each changed alone, on the same answers, over seeds.

Every arm is the picture stage of `mmspec train vispec` with one change and the same steps and
data; what counts is held-out tau of greedy chains (bonus included) and the overlap of the laws
(what can be accepted of one draft at temperature 1).

Most of what a picture stage teaches needs no eyes, and would drown what they add. So arms that
change how a picture is seen start from a drafter that has been through a long picture stage blind
(``--blind`` steps, trained once), the blind arm among them; arms that change how the whole is
trained start where the recipe does.

    python evals/bench/ablate_vispec.py --target nano --data runs/vispec/answers --steps 100 \
        --seeds 1 2 3 --work runs/ablate_vispec --out evals/results/vispec/ablations.json
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from retrained import Change, as_here, changed, command_line, course, folder_of, once, table, write

from mmspec.text.eagle_config import EagleConfig
from mmspec.text.eagle_network import EagleNetwork
from mmspec.train.asked import Asked
from mmspec.train.recipe_file import read
from mmspec.train.recipes import vispec
from mmspec.train.recipes.vispec import Recipe, train
from mmspec.vision.vispec_checkpoint import load_checkpoint

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from pathlib import Path

SEE, MIX = "sight", "mix"
FULL: dict[str, object] = {
    "how": "resample", "tokens": 1, "glance": True, "keys": "both", "orders": 0,
}  # fmt: skip
BLIND: dict[str, object] = {"how": "none", "tokens": 0, "glance": False}
SIGHTS: dict[str, Change] = {
    "1 token, glance, both keys": {},
    "blind: 0 tokens, no glance": {SEE: BLIND},
    "0 tokens": {SEE: {"how": "none", "tokens": 0}},
    "no glance": {SEE: {"glance": False}},
    "4 tokens": {SEE: {"tokens": 4}},
    "16 tokens": {SEE: {"tokens": 16}},
    "64 tokens": {SEE: {"tokens": 64}},
    "all tokens, projected (MSD)": {SEE: {"how": "keep", "tokens": 0, "glance": False}},
    "16 latents (FLASH)": {SEE: {"how": "latent", "tokens": 16, "glance": False}},
    "keys: embeddings": {SEE: {"keys": "embeds"}},
    "keys: features": {SEE: {"keys": "features"}},
    "positions compacted": {SEE: {"compact": True}},
}
WHOLES: dict[str, Change] = {
    "nothing changed": {},
    "features of the last watched layer": {},
    "short answers in training": {},
    "distance kl (cross-entropy)": {MIX: {"distance": "kl"}},
    "distance tv (ViSpec)": {MIX: {"distance": "tv"}},
    "kl and features (EAGLE, MSD)": {
        MIX: {"distance": "kl", "ranking": 0.0, "features": 1.0, "unroll": 1}
    },
    "no ranking loss": {MIX: {"ranking": 0.0}},
    "unroll 1": {MIX: {"unroll": 1}},
}
ARMS = SIGHTS | WHOLES
SHORT = 40  # tokens of a short answer


def altered(base: Recipe, change: Change, seed: int, steps: int) -> Recipe:
    """The base recipe, with all of sight, and one arm's changes."""
    full: Change = {SEE: FULL, MIX: {"depth": base.mix.depth or base.mix.unroll}}
    told = course(changed(msgspec.to_builtins(base), full), seed, steps)
    return msgspec.convert(changed(told, change), Recipe)


def last_layer(begun: EagleNetwork) -> EagleNetwork:
    """The same network fed with the last watched layer alone."""
    config = msgspec.structs.replace(begun.config, layers=begun.config.layers[-1:])
    network = EagleNetwork(config)
    state = begun.float().state_dict()
    state["fc.weight"] = state["fc.weight"][:, -config.target_hidden :].clone()
    network.load_state_dict(state)
    return network


def learned(name: str, recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """Train one arm with one seed, or read what it measured before."""
    folder = folder_of(options.work, name, recipe.seed)
    return once(folder, partial(taught, name, recipe, folder, options))


def taught(
    name: str, recipe: Recipe, folder: Path, options: argparse.Namespace
) -> Mapping[str, float]:
    """Train one arm: the last trial's numbers."""
    start, answers = vispec.text_stage, vispec.begin
    if name in SIGHTS:
        vispec.text_stage = lambda *_: blinded(options)
    if name.startswith("features of the last"):
        vispec.text_stage = lambda *given: last_layer(start(*given))
    if name.startswith("short answers"):
        vispec.begin = shortened(answers, recipe.reading.held_out)
    try:
        return train(recipe, Asked(options.target, folder, options.device, None, options.data))
    finally:
        vispec.text_stage, vispec.begin = start, answers


def blinded(options: argparse.Namespace) -> EagleNetwork:
    """What the long blind stage has trained, as a text drafter."""
    network = load_checkpoint(options.work / "blind" / "drafter")
    told = msgspec.structs.asdict(network.config)
    del told["sight"]
    begun = EagleNetwork(EagleConfig(**told))
    begun.load_state_dict(network.state_dict())  # there is nothing to see with
    return begun


def go_blind(base: Recipe, options: argparse.Namespace) -> None:
    """Train the start of the arms of sight, or wait until another process has."""
    folder = options.work / "blind"
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "done"
    try:
        (folder / "begun").touch(exist_ok=False)
    except FileExistsError:
        while not done.exists():
            time.sleep(5)
        return
    recipe = altered(base, {SEE: BLIND}, base.seed, options.blind)
    train(recipe, Asked(options.target, folder, options.device, None, options.data))
    done.touch()


def shortened(begin: Callable[..., Any], held_out: int) -> Callable[..., Any]:
    """Answers of which only the short ones are learned from; the held-out ones stay."""

    def begun(*given: object) -> tuple[Any, Any]:
        crew, answers = begin(*given)
        learned = answers.records[: len(answers) - held_out]
        answers.records = [
            *(record for record in learned if len(record.response) <= SHORT),
            *answers.records[len(answers) - held_out :],
        ]
        return crew, answers

    return begun


def main() -> None:
    """Run the arms that are asked for and write the table."""
    parser = command_line(__doc__, ARMS, "runs/ablate_vispec")
    parser.add_argument("--blind", type=int, default=800, help="steps of the start without eyes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = read(Recipe, "vispec.toml", options.config)
    base = msgspec.structs.replace(base, mix=as_here(base.mix, options.device))
    if any(name in SIGHTS for name in options.arms):
        go_blind(base, options)

    def run(name: str, seed: int) -> dict[str, Any]:
        return learned(name, altered(base, ARMS[name], seed, options.steps), options)

    told = table(ARMS, options, run, ("held_out_tau", "held_out_overlap"))
    about = {"blind_steps": options.blind, "arms": told}
    write(options, "evals/bench/ablate_vispec.py", base, about)


if __name__ == "__main__":
    main()
