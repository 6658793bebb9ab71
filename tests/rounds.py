"""What a trial in training says of a drafter, against the engine that drafts with it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from running import engine, reported

from mmspec.core.request import Prompt, Sampling
from mmspec.engine.build import build_drafter
from mmspec.model.target import Target
from mmspec.train.packing import Sample, pack

if TYPE_CHECKING:
    from pathlib import Path

    from answered import Answers

    from mmspec.train.capture import FrozenTarget
    from mmspec.train.lesson import Lesson


def passes_are_rounds(
    address: str, folder: Path, answers: Answers, lesson: Lesson, frozen: FrozenTarget
) -> None:
    """The engine needs as many target passes for a chain drafter as the trial says."""
    served = Target(copy.deepcopy(answers.model))
    options: dict[str, Any] = {
        "path": str(folder),
        "width": 1,
        "children": 1,
        "floor": 0.0,
        "least": 0.0,
    }
    if not address.startswith("longctx."):  # whose memory does not grow with a text
        options["tokens"] = 4096
    drafters = {address: build_drafter(address, options, served.facts)}
    running = engine(served, drafters, max_nodes=6, max_depth=5)
    asked = {str(number): said.prompt for number, said in enumerate(answers.samples[:2])}
    asked["unseen"] = Prompt(np.arange(3, 60))
    told = reported(running, asked, Sampling(temperature=0, max_tokens=40))
    drafts = 0
    for id, (text, report) in told.items():
        sample = Sample(asked[id], np.array(text))
        rows = pack([[sample]], len(sample), frozen.family, "cpu")
        (decoded,), _ = lesson.trial(rows, frozen.read(rows))
        if address in report.off_reasons:
            assert report.rounds == len(text)
            continue
        assert report.rounds == decoded.passes.passes
        # At the limit the engine counts the last token as its own.
        assert decoded.passes.accepted.sum() - report.accepted in (0, 1)
        drafts += report.accepted
    assert drafts > 15
