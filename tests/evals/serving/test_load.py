"""When requests go out, and how many at a time."""

from __future__ import annotations

import asyncio
import math
import time
from itertools import pairwise

import pytest
from mmspec_evals.errors import PlanError
from mmspec_evals.serving.job import Job, Outcome
from mmspec_evals.serving.load import arrivals, drive

JOBS = [Job([], str(index), 1) for index in range(20)]


def test_arrivals_are_a_seeded_poisson_stream():
    times = arrivals(4000, 8.0, seed=3)
    assert times == arrivals(4000, 8.0, seed=3) != arrivals(4000, 8.0, seed=4)
    assert times[0] == 0
    gaps = [b - a for a, b in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 8, rel=0.06)
    # Exponential gaps: standard deviation = mean, and 1 - 1/e of them below it.
    assert math.sqrt(sum((g - mean) ** 2 for g in gaps) / len(gaps)) == pytest.approx(mean, rel=0.1)
    assert sum(g < mean for g in gaps) / len(gaps) == pytest.approx(1 - 1 / math.e, abs=0.03)


def test_a_rate_stretches_one_pattern():
    slow, fast = arrivals(50, 2.0, seed=1), arrivals(50, 4.0, seed=1)
    assert slow == pytest.approx([2 * at for at in fast])
    assert arrivals(3, math.inf, seed=1) == [0, 0, 0]
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(PlanError):
            arrivals(3, wrong, seed=1)


@pytest.mark.parametrize("concurrency", [1, 4, None])
def test_closed_loop(concurrency):
    open_now, most, seen = 0, 0, []

    async def ask(job, index):
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        start = time.perf_counter()
        await asyncio.sleep(0.005 + 0.001 * (index % 3))
        open_now -= 1
        return Outcome(start, text=job.prompt)

    outcomes, seconds = asyncio.run(drive(JOBS, ask, [0.0] * 20, concurrency, seen.append))
    assert most == (concurrency or 20)
    assert [one.text for one in outcomes] == [job.prompt for job in JOBS]  # whatever came first
    assert len(seen) == 20
    assert (outcomes[-1].queued > 0.01) == (concurrency is not None)
    assert seconds >= 0.1 if concurrency == 1 else seconds < 1


def test_open_loop_keeps_its_times():
    async def ask(_job, _index):
        return Outcome(time.perf_counter())

    times = [0.0, 0.05, 0.05, 0.12]
    outcomes, _ = asyncio.run(drive(JOBS[:4], ask, times))
    for outcome, at in zip(outcomes, times, strict=True):
        assert at - 0.001 <= outcome.start - outcomes[0].start < at + 0.04
