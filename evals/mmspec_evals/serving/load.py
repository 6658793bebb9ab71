"""When requests are sent: a Poisson stream, or so many at a time."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import accumulate
from typing import TYPE_CHECKING

from mmspec_evals.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mmspec_evals.serving.job import Job, Outcome

CONNECTIONS = 512  # open at a time where the user sets no bound


def arrivals(count: int, rate: float, seed: int) -> list[float]:
    """Seconds from the first request to each; at an infinite rate all come at once.

    One seed gives one pattern, which a rate only stretches.

    Raises:
        PlanError: a rate that is not above zero.
    """
    if not rate > 0:
        raise PlanError(f"a request rate lies above 0, not at {rate:g}")
    draw = random.Random(seed)
    gaps = [0.0, *(draw.expovariate(1.0) / rate for _ in range(count - 1))]
    return list(accumulate(gaps[:count]))


async def drive(
    jobs: Sequence[Job],
    ask: Callable[[Job, int], Awaitable[Outcome]],
    times: Sequence[float],
    concurrency: int | None = None,
    done: Callable[[Outcome], None] = lambda _: None,
) -> tuple[list[Outcome], float]:
    """Send every job at its time, as far as there is a free connection; outcomes in job order.

    Args:
        jobs: what to ask.
        ask: asks; never raises for what the server does.
        times: when, in seconds from now.
        concurrency: most at a time; None: as many as there are connections.
        done: told of each outcome as it comes.

    Returns:
        The outcomes, and the seconds from the first request to the last answer.
    """
    free = asyncio.Semaphore(concurrency or CONNECTIONS)
    began = time.perf_counter()

    async def send(index: int) -> Outcome:
        await asyncio.sleep(max(0.0, began + times[index] - time.perf_counter()))
        arrived = time.perf_counter()
        async with free:
            outcome = await ask(jobs[index], index)
        outcome.queued = outcome.start - arrived
        done(outcome)
        return outcome

    outcomes = await asyncio.gather(*(send(index) for index in range(len(jobs))))
    return list(outcomes), time.perf_counter() - began
