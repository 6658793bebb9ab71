"""What ablations by training again share: arms over seeds, one folder each, a table of means.

Arms run one after another and are skipped when their folder is finished; several processes may
share the arms of one work folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mmspec.train.lesson import Mix

Change = dict[str, Any]  # a recipe's key -> its value, or a part of it


def command_line(about: str | None, arms: Iterable[str], work: str) -> argparse.ArgumentParser:
    """The options all such benches have; ``work`` is their folder unless told."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--target", default="nano")
    parser.add_argument("--data", type=Path, required=True, help="the target's answers")
    parser.add_argument("--config", type=Path, help="a recipe file; the shipped one by default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--commit", default="", help="what to say where git cannot")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--work", type=Path, default=Path(work))
    parser.add_argument("--arms", nargs="*", default=list(arms))
    parser.add_argument("--out", type=Path)
    return parser


def changed(told: Change, change: Change) -> Change:
    """A recipe's builtins with one arm's changes in them."""
    for key, value in change.items():
        told[key] = told[key] | value if isinstance(value, dict) else value
    return told


def course(told: Change, seed: int, steps: int) -> Change:
    """A recipe's builtins with this seed, and one trial at the end of so many steps."""
    seeds: Change = {"seed": seed, "reading": {"seed": seed}}
    return changed(told, seeds | {"course": {"steps": steps, "trial": steps, "save": steps}})


def as_here(mix: Mix, device: str) -> Mix:
    """Losses are compiled on a processor alone: elsewhere that takes longer than it saves."""
    return mix if device == "cpu" else msgspec.structs.replace(mix, compiled=False)


def once(folder: Path, run: Callable[[], Mapping[str, float]]) -> dict[str, Any]:
    """What an arm's run told, now or before; nothing while another process has it."""
    done, begun = folder / "measured.json", folder / "begun"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        begun.touch(exist_ok=False)
    except FileExistsError:
        return {}
    began = time.monotonic()
    told = {"trial": dict(run()), "seconds": time.monotonic() - began}
    done.write_text(json.dumps(told), encoding="utf-8")
    return told


def folder_of(work: Path, arm: str, seed: int) -> Path:
    """Where an arm of one seed lives."""
    return work / f"{''.join(c if c.isalnum() else '-' for c in arm)}-{seed}"


def table(
    arms: Mapping[str, Change], options: argparse.Namespace,
    run: Callable[[str, int], dict[str, Any]], shown: tuple[str, ...],
) -> dict[str, Any]:  # fmt: skip
    """All arms over all seeds: means, sample deviations and each value of what is ``shown``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in options.seeds:
        for name in options.arms:
            told = run(name, seed)
            if told:
                found.setdefault(name, []).append(told["trial"])
                said = {key: round(told["trial"][key], 3) for key in shown}
                print(f"{name:36} {seed} {said}", flush=True)
    return {name: {"change": arms[name]} | summary(trials, shown) for name, trials in found.items()}


def summary(trials: list[dict[str, float]], shown: tuple[str, ...]) -> dict[str, object]:
    """Mean and sample deviation over seeds."""
    told: dict[str, object] = {"seeds": len(trials)}
    for name in shown:
        values = [trial[name] for trial in trials]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        told[name] = {"mean": statistics.fmean(values), "sd": spread, "each": values}
    return told


def write(options: argparse.Namespace, command: str, base: object, told: dict[str, Any]) -> None:
    """The result's file, where one was asked for."""
    if options.out is None:
        return
    asked = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    result = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit or options.commit,
        "command": command,
        "target": options.target,
        "device": options.device,
        "steps": options.steps,
        "recipe": msgspec.to_builtins(base),
    } | told
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draft = options.out.with_suffix(f".{os.getpid()}.partial")
    draft.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draft.replace(options.out)
