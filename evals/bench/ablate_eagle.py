r"""Which parts of the feature drafter's recipe pay: each left out alone, on the same answers.

Every arm is `mmspec train eagle` with one change and the same steps, seed and data; what counts is
held-out tau of greedy chains (bonus included, depth as unrolled, so arms of another depth are tried
at the base's), the overlap of the laws (what can be accepted of one draft at temperature 1), and
weights. Arms run one after another and are skipped when their folder is finished.

    python evals/bench/ablate_eagle.py --target nano --data runs/eagle/answers --steps 400 \
        --work runs/ablate --out evals/results/ablate_eagle.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mmspec.text.eagle_checkpoint import load_checkpoint
from mmspec.train.asked import Asked
from mmspec.train.eagle_data import Recipe
from mmspec.train.recipe_file import read
from mmspec.train.recipes.eagle import train

Change = dict[str, dict[str, object]]
ARMS: dict[str, Change] = {
    "base": {},
    "unroll 1": {"mix": {"unroll": 1}},
    "one feature layer (last watched)": {"shape": {"layers": [6]}},
    "distance kl": {"mix": {"distance": "kl"}},
    "distance tv": {"mix": {"distance": "tv"}},
    "distance tvd++": {"mix": {"distance": "tvd++"}},
    "full head": {"shape": {"draft_vocabulary": None}},
    "half of the draft vocabulary": {"shape": {"draft_vocabulary": 1024}},
    "no ranking loss": {"mix": {"ranking": 0.0}},
    "feature loss": {"mix": {"features": 0.1}},
    "window 3, no copying start": {"shape": {"start": "target"}},
    "window 1 (as EAGLE-3)": {"shape": {"start": "target", "window": 1, "rope_base": None}},
}


def changed(base: Recipe, change: Change, steps: int) -> Recipe:
    """The base recipe with one arm's changes, and ``steps`` steps."""
    told = msgspec.to_builtins(base)
    for part, values in change.items():
        told[part] |= values
    told["mix"]["depth"] = base.mix.depth or base.mix.unroll
    told["course"] |= {"steps": steps, "trial": steps, "save": steps}
    return msgspec.convert(told, Recipe)


def arm(name: str, recipe: Recipe, options: argparse.Namespace) -> dict[str, object]:
    """Train one arm, or read what it measured before."""
    folder = options.work / name.replace(" ", "-").replace("(", "").replace(")", "")
    done = folder / "measured.json"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    asked = Asked(options.target, folder, "cpu", None, options.data)
    began = time.monotonic()
    trial = dict(train(recipe, asked))
    seconds = time.monotonic() - began
    network, _ = load_checkpoint(folder / "drafter")
    weights = sum(p.numel() for p in network.parameters() if p.requires_grad)
    told = {"trial": trial, "seconds": seconds, "weights": weights}
    done.write_text(json.dumps(told), encoding="utf-8")
    return told


def main() -> None:
    """Run the arms that are asked for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="nano")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--work", type=Path, default=Path("runs/ablate"))
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    base = read(Recipe, "eagle.toml", options.config)
    asked = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    result: dict[str, object] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "command": "evals/bench/ablate_eagle.py",
        "target": options.target,
        "steps": options.steps,
        "recipe": msgspec.to_builtins(base),
        "arms": {},
    }
    for name in options.arms:
        told = arm(name, changed(base, ARMS[name], options.steps), options)
        result["arms"][name] = {"change": ARMS[name]} | told
        print(f"{name:36}", {k: round(v, 3) for k, v in told["trial"].items()}, flush=True)
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
