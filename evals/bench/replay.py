"""Arms of drafting and fusing, replayed on recorded texts: tau and fusing's cost, in seconds.

`record` decodes held-out prompts of seven kinds plainly, with every drafter asked at every place,
the engine's own and those of the ablations (``ablations.py``: chains, and the model deaf to noise);
`play` lets each arm run over the tracks. What replay says of an arm is held to what the engine does
on the same prompts (`live`). tau counts the bonus; the calibration begins empty with each kind.

    python evals/bench/replay.py record --tracks runs/replay [--count 12]
    python evals/bench/replay.py play --tracks runs/replay --out evals/results/retrieval/arms.json
    python evals/bench/replay.py live --tracks runs/replay --out evals/results/retrieval/live.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from arms import decode
from mmspec_evals.registry import find
from mmspec_evals.replay.chains import Chain
from mmspec_evals.replay.deterministic import Deterministic
from mmspec_evals.replay.play import Arm, Played, play
from mmspec_evals.replay.record import record
from mmspec_evals.replay.track import load, save
from mmspec_evals.running.prepare import Asked, Preparer
from mmspec_evals.task import Want
from skeleton import provenance

from mmspec.core.config import Config, Drafters, EngineConfig, ModelConfig
from mmspec.core.drafter import Budget
from mmspec.core.fuse import Fusion
from mmspec.core.request import Sampling, Speculation
from mmspec.engine.build import build
from mmspec.engine.fusing import Fuser

if TYPE_CHECKING:
    from mmspec_evals.replay.chains import Rule

    from mmspec.core.drafter import Drafter
    from mmspec.core.request import Prompt
    from mmspec.engine.engine import Engine
    from mmspec.model.processor import Processor
    from mmspec.text.eagle import Eagle

WIDE = Budget(16, 16)
RULES: tuple[Rule, ...] = ("pld", "earliest", "recent", "vote")
# Numbers of a track's drafters: what the engine has, then what is held against it.
MODEL, SUFFIX, RECYCLING, DETERMINISTIC, PLD, EARLIEST, RECENT, VOTE = range(8)
ALONE, QUOTING = frozenset({MODEL}), frozenset({SUFFIX, RECYCLING})
OWN = ALONE | QUOTING
MODELS = 1 << MODEL | 1 << DETERMINISTIC
CALIBRATED = Fusion("calibrated", models=MODELS)


class Kind(NamedTuple):
    """A kind of text: a task of the evals, and the seed of its documents."""

    task: str
    tokens: tuple[int, ...] = ()


KINDS = {
    "documents, quotes": Kind("nano_docqa/quote", (700, 1400)),
    "documents, facts": Kind("nano_docqa/fact", (700, 1400)),
    "documents, chapters": Kind("nano_docqa/chapter", (1400, 2800)),
    "code, changed": Kind("nano_program/change"),
    "code, continued": Kind("nano_code"),
    "pictures described": Kind("nano_describe"),
    "open text": Kind("spec_bench_mini"),
}
DRAFTERS: Drafters = {
    "text": {"eagle": {"path": "nano-eagle"}},
    "vision": {"vispec": {"path": "nano-vispec"}},
    "retrieval": {"suffix": {}, "recycling": {}},
}


def prompts(processor: Processor, kind: Kind, options: argparse.Namespace) -> dict[str, Prompt]:
    """The first turns of some documents, by name, with their cap."""
    (task,) = find([kind.task])
    preparer = Preparer(processor, 16_384, Asked(temperature=options.temperature))
    want = Want(None, options.count, options.seed, kind.tokens, preparer.count)
    return {doc.id: preparer.case(task, doc).prompt for doc in task.load(want).docs}


def arms() -> dict[str, Arm]:
    """Ways to draft by name, over the engine's own drafters."""
    told = {
        "plain": Arm(frozenset()),
        "model": Arm(ALONE, Fusion(models=MODELS)),
        "quotes": Arm(QUOTING, Fusion(models=MODELS)),
        "union": Arm(OWN, Fusion("union", models=MODELS)),
        "calibrated": Arm(OWN, CALIBRATED),
        "quotes, calibrated": Arm(QUOTING, CALIBRATED),
        "rasd": Arm(OWN, Fusion("rasd", models=MODELS)),
    }
    for enough in (1.0, 2.5, 4.0, 6.0):
        told[f"switch at {enough}"] = Arm(OWN, Fusion("switch", enough, MODELS))
        told[f"calibrated, model not asked from {enough}"] = Arm(OWN, CALIBRATED, enough)
    return told


def open_engine(options: argparse.Namespace, arm: str = "union") -> tuple[Engine, Processor]:
    """The bundled model with its drafters; nobody is judged, and none is spared."""
    torch.set_num_threads(options.threads)
    config = EngineConfig(
        max_sequences=2, prefix_cache=False, judge_rounds=0, enough=float("inf"), fusion=arm
    )
    return build(Config(model=ModelConfig(path=options.model), engine=config, drafters=DRAFTERS))


def suited(kind: str) -> list[str]:
    """Addresses of the engine's drafters that are asked for a kind of text, the model's first."""
    model = "vision.vispec" if kind.startswith("pictures") else "text.eagle"
    return [model, "retrieval.suffix", "retrieval.recycling"]


def record_all(options: argparse.Namespace) -> None:
    """One file of tracks a kind."""
    engine, processor = open_engine(options)
    options.tracks.mkdir(parents=True, exist_ok=True)
    every = engine.panel._drafters  # a bench may look
    for name, kind in KINDS.items():
        drafters: dict[str, Drafter] = {address: every[address] for address in suited(name)}
        drafters["bench.deterministic"] = Deterministic(cast("Eagle", every[suited(name)[0]]))
        for rule in RULES:
            drafters[f"bench.{rule}"] = Chain(rule, engine.target.facts)
        sampling = Sampling(temperature=options.temperature, seed=1, max_tokens=options.cap)
        asked = prompts(processor, kind, options)
        tracks = record(engine, drafters, asked, sampling, WIDE)
        save(options.tracks / f"{name}.npz", tracks)
        print(name, len(tracks), sum(len(one.tokens) - 1 for one in tracks), flush=True)


def play_all(options: argparse.Namespace) -> dict[str, object]:
    """Every arm on every kind: tau, nodes a round, how often the model was asked, fusing's time."""
    told: dict[str, object] = {}
    for name in KINDS:
        tracks = list(load(options.tracks / f"{name}.npz"))
        rows: dict[str, object] = {}
        for arm_name, arm in arms().items():
            played, fuser = Played(), Fuser(arm.how)
            for one in tracks:
                play(one, arm, Budget(options.nodes, options.depth), played, fuser)
            half, most = np.quantile(played.seconds, [0.5, 0.99])
            rows[arm_name] = {
                "tau": played.tau,
                "nodes": played.nodes,
                "model_asked": played.asked / played.rounds,
                "fuse_us_p50": 1e6 * half,
                "fuse_us_p99": 1e6 * most,
            }
        told[name] = rows
    return told


def live(options: argparse.Namespace) -> dict[str, object]:
    """The engine's own tau, for the arms it has, on the prompts of the tracks."""
    told: dict[str, dict[str, float]] = {name: {} for name in KINDS}
    alone = {"model": slice(0, 1), "quotes": slice(1, None)}
    for arm in ("union", "calibrated", "rasd", "model", "quotes"):
        fusion = "union" if arm in alone else arm
        engine, processor = open_engine(options, fusion)
        for name, kind in KINDS.items():
            sampling = Sampling(temperature=options.temperature, seed=1, max_tokens=options.cap)
            drafters = tuple(suited(name)[alone.get(arm, slice(None))])
            engine.reset()
            asked = prompts(processor, kind, options).values()
            runs = [
                decode(engine, [one], Speculation(drafters=drafters), sampling) for one in asked
            ]
            told[name][arm] = sum(r.emitted for r in runs) / sum(r.rounds for r in runs)
    return dict(told)


def main() -> None:
    """Record, play or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["record", "play", "live"])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--tracks", type=Path, default=Path("runs/replay"))
    parser.add_argument("--count", type=int, default=12, help="documents a kind")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--cap", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--nodes", type=int, default=WIDE.nodes)
    parser.add_argument("--depth", type=int, default=WIDE.depth)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.device = "cpu"
    if options.what == "record":
        record_all(options)
        return
    told = play_all(options) if options.what == "play" else live(options)
    result = {"provenance": provenance(options, "llava"), options.what: told}
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
