"""What the engine counts: rounds on request, acceptance by position, seconds by part."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from drafting import Knowing
from running import engine, reported

from mmspec.core.request import Prompt, Sampling, Speculation

PROMPT = {"a": Prompt(np.random.default_rng(1).integers(3, 90, 40))}
GREEDY = Sampling(temperature=0.0, max_tokens=24)


@pytest.fixture(scope="module")
def target():
    return tiny.target("llama", "bitwise")


def spoken(target, report):
    plain, _ = reported(engine(target), PROMPT, GREEDY)["a"]
    running = engine(target, {"knowing": Knowing({"a": plain}, target.facts.vocabulary)})
    told = reported(running, PROMPT, GREEDY, Speculation(report=report))["a"]
    return running, *told


def test_rounds_are_logged_only_when_asked(target):
    assert spoken(target, report=False)[2].log is None
    _, said, report = spoken(target, report=True)
    log = report.log
    assert len(log.proposed) == len(log.depth) == len(log.accepted) == report.rounds
    assert sum(log.proposed) == report.drafted
    assert sum(log.accepted) == report.accepted > 0
    assert sum(log.accepted) + report.rounds == len(said)
    assert all(a <= d <= p for p, d, a in zip(log.proposed, log.depth, log.accepted, strict=True))


def test_acceptance_by_position_sums_to_acceptance(target):
    running, _, report = spoken(target, report=True)
    at = running.stats.accepted_at
    assert sum(at) == running.stats.accepted == report.accepted
    assert at == sorted(at, reverse=True)
    assert at[0] == sum(kept > 0 for kept in report.log.accepted)


def test_seconds_of_drafting_are_part_of_the_step_and_reset(target):
    running, _, _ = spoken(target, report=False)
    stats = running.stats
    assert 0 < stats.draft_seconds < stats.step_seconds - stats.model_seconds
    running.reset()
    assert running.stats.draft_seconds == running.stats.vision_seconds == 0.0
