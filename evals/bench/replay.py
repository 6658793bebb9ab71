"""Arms of drafting and fusing, replayed on recorded texts: tau and fusing's cost, in seconds.

`record` decodes held-out prompts of four kinds plainly, with every drafter asked at every place;
`play` lets each arm run over the tracks. What replay says of an arm is held to what the engine does
on the same prompts (`live`). tau counts the bonus; the calibration begins empty with each kind.

    python evals/bench/replay.py record --out runs/replay [--count 12]
    python evals/bench/replay.py play --tracks runs/replay --out evals/results/retrieval/arms.json
    python evals/bench/replay.py live --tracks runs/replay --out evals/results/retrieval/live.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import torch
from arms import decode
from mmspec_evals.registry import find
from mmspec_evals.replay.play import Arm, Played, play
from mmspec_evals.replay.record import record
from mmspec_evals.replay.track import load, save
from mmspec_evals.running.prepare import Asked, Preparer
from mmspec_evals.task import Want
from skeleton import provenance

from mmspec.core.calibration import Calibration
from mmspec.core.config import Config, Drafters, EngineConfig, ModelConfig
from mmspec.core.drafter import Budget
from mmspec.core.fuse import Fusion
from mmspec.core.request import Speculation
from mmspec.engine.build import build

if TYPE_CHECKING:
    from mmspec.core.request import Prompt, Sampling
    from mmspec.engine.engine import Engine
    from mmspec.model.processor import Processor

WIDE = Budget(16, 16)


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
    "open text": Kind("mt_bench"),
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


def arms(models: int, model: int) -> dict[str, tuple[Arm, bool]]:
    """Ways to draft by name, and whether each is calibrated. ``model``: number of the model's."""
    quoting = frozenset(i for i in range(8) if not models >> i & 1)
    alone = frozenset({model})
    told = {
        "plain": (Arm(frozenset()), False),
        "model": (Arm(alone), False),
        "quotes": (Arm(quoting), False),
        "union": (Arm(how=Fusion("union", models=models)), False),
        "calibrated": (Arm(how=Fusion("calibrated", models=models)), True),
        "quotes, calibrated": (Arm(quoting, Fusion("calibrated", models=models)), True),
        "rasd": (Arm(how=Fusion("rasd", models=models)), False),
    }
    for enough in (1.0, 2.5, 5.0):
        told[f"switch at {enough}"] = (Arm(how=Fusion("switch", enough, models)), False)
        told[f"calibrated, model not asked from {enough}"] = (
            Arm(how=Fusion("calibrated", models=models), enough=enough), True,
        )  # fmt: skip
    return told
