"""What every trace must satisfy."""

from __future__ import annotations

import pytest


def check_counts(trace):
    """Every token came from a pass, or was accepted in one."""
    rounds = trace.rounds
    assert len(rounds.proposed) == len(rounds.depth) == len(rounds.accepted) == trace.passes
    assert sum(rounds.accepted) + trace.passes == trace.tokens == len(trace.ids)
    assert all(
        a <= d <= p for p, d, a in zip(rounds.proposed, rounds.depth, rounds.accepted, strict=True)
    )


def check_seconds(seconds):
    assert 0 < seconds.first < seconds.total
    assert seconds.decode > 0
    assert seconds.first + seconds.decode <= seconds.total
    assert seconds.vision + seconds.prefill == pytest.approx(seconds.first)
