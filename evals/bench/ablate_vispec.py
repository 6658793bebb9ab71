r"""Which parts of the drafter that sees pay: each changed alone, on the same answers, over seeds.

Every arm is the picture stage of `mmspec train vispec` with one change and the same steps and
data; what counts is held-out tau of greedy chains (bonus included) and the overlap of the laws
(what can be accepted of one draft at temperature 1).

Most of what a picture stage teaches needs no eyes, and would drown what they add. So arms that
change how a picture is seen start from a drafter that has been through a long picture stage blind
(``--blind`` steps, trained once), the blind arm among them; arms that change how the whole is
trained start where the recipe does.

Arms run one after another and are skipped when their folder is finished; several processes may
share the arms of one work folder.

    python evals/bench/ablate_vispec.py --target nano --data runs/vispec/answers --steps 100 \
        --seeds 1 2 3 --work runs/ablate_vispec --out evals/results/vispec/ablations.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from mmspec.text.eagle_config import EagleConfig
from mmspec.text.eagle_network import EagleNetwork
from mmspec.train.asked import Asked
from mmspec.train.recipe_file import read
from mmspec.train.recipes import vispec
from mmspec.train.recipes.vispec import Recipe, train
from mmspec.vision.vispec_checkpoint import load_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

SEE, MIX = "sight", "mix"
FULL: dict[str, object] = {
    "how": "resample", "tokens": 1, "glance": True, "keys": "both", "orders": 0,
}  # fmt: skip
BLIND: dict[str, object] = {"how": "none", "tokens": 0, "glance": False}
SIGHTS: dict[str, dict[str, dict[str, object]]] = {
    "1 token, glance, both keys": {},
    "blind: 0 tokens, no glance": {SEE: BLIND},
    "0 tokens": {SEE: {"how": "none", "tokens": 0}},
    "no glance": {SEE: {"glance": False}},
    "4 tokens": {SEE: {"tokens": 4}},
    "16 tokens": {SEE: {"tokens": 16}},
    "all tokens, projected (MSD)": {SEE: {"how": "keep", "tokens": 0, "glance": False}},
    "16 latents (FLASH)": {SEE: {"how": "latent", "tokens": 16, "glance": False}},
    "keys: embeddings": {SEE: {"keys": "embeds"}},
    "keys: features": {SEE: {"keys": "features"}},
    "positions compacted": {SEE: {"compact": True}},
}
WHOLES: dict[str, dict[str, dict[str, object]]] = {
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


def changed(base: Recipe, change: dict[str, dict[str, object]], seed: int, steps: int) -> Recipe:
    """The base recipe, with all of sight, and one arm's changes."""
    told = msgspec.to_builtins(base)
    told[SEE] |= FULL  # the shipped recipe leaves out what did not pay
    for part, values in change.items():
        told[part] |= values
    told["seed"], told["mix"]["depth"] = seed, base.mix.depth or base.mix.unroll
    told["reading"]["seed"] = seed
    told["course"] |= {"steps": steps, "trial": steps, "save": steps}
    return msgspec.convert(told, Recipe)


def last_layer(begun: EagleNetwork) -> EagleNetwork:
    """The same network fed with the last watched layer alone."""
    config = msgspec.structs.replace(begun.config, layers=begun.config.layers[-1:])
    network = EagleNetwork(config)
    state = begun.float().state_dict()
    state["fc.weight"] = state["fc.weight"][:, -config.target_hidden :].clone()
    network.load_state_dict(state)
    return network


def arm(name: str, recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """Train one arm with one seed, or read what it measured before."""
    letters = "".join(c if c.isalnum() else "-" for c in name)
    folder = options.work / f"{letters}-{recipe.seed}"
    done, begun = folder / "measured.json", folder / "begun"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        begun.touch(exist_ok=False)
    except FileExistsError:  # another process has it
        return {}
    start, answers = vispec.text_stage, vispec.begin
    if name in SIGHTS:
        vispec.text_stage = lambda *_: blinded(options)
    if name.startswith("features of the last"):
        vispec.text_stage = lambda *given: last_layer(start(*given))
    if name.startswith("short answers"):
        vispec.begin = shortened(answers, recipe.reading.held_out)
    began = time.monotonic()
    try:
        asked = Asked(options.target, folder, "cpu", None, options.data)
        trial = dict(train(recipe, asked))
    finally:
        vispec.text_stage, vispec.begin = start, answers
    told = {"trial": trial, "seconds": time.monotonic() - began}
    done.write_text(json.dumps(told), encoding="utf-8")
    return told


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
    recipe = changed(base, {SEE: BLIND}, base.seed, options.blind)
    train(recipe, Asked(options.target, folder, "cpu", None, options.data))
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


def summary(runs: list[dict[str, Any]]) -> dict[str, object]:
    """Mean and sample deviation over seeds."""
    told: dict[str, object] = {"seeds": len(runs)}
    for name in ("held_out_tau", "held_out_overlap"):
        values = [run["trial"][name] for run in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        told[name] = {"mean": statistics.fmean(values), "sd": spread, "each": values}
    return told


def main() -> None:
    """Run the arms that are asked for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="nano")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--blind", type=int, default=800, help="steps of the start without eyes")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--work", type=Path, default=Path("runs/ablate_vispec"))
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = read(Recipe, "vispec.toml", options.config)
    asked = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if any(name in SIGHTS for name in options.arms):
        go_blind(base, options)
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in options.seeds:
        for name in options.arms:
            told = arm(name, changed(base, ARMS[name], seed, options.steps), options)
            if told:
                found.setdefault(name, []).append(told)
                shown = {k: round(v, 3) for k, v in told["trial"].items() if "/" not in k}
                print(f"{name:36} {seed} {shown}", flush=True)
    if options.out:
        result = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit,
            "command": "evals/bench/ablate_vispec.py",
            "target": options.target,
            "steps": options.steps,
            "blind_steps": options.blind,
            "recipe": msgspec.to_builtins(base),
            "arms": {n: {"change": ARMS[n]} | summary(runs) for n, runs in found.items()},
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
