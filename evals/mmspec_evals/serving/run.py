"""One benchmark against one server: warm up, scrape, drive, scrape, sum up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from mmspec_evals.errors import EvalError
from mmspec_evals.serving.client import ask
from mmspec_evals.serving.load import arrivals, drive
from mmspec_evals.serving.scrape import between, parse
from mmspec_evals.serving.summary import details, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mmspec_evals.serving.client import Asking
    from mmspec_evals.serving.job import Job, Outcome
    from mmspec_evals.serving.scrape import Counts

_SCRAPE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard to push.

    Attributes:
        rate: requests a second, Poisson; ``inf``: all at once.
        concurrency: most at a time; with an infinite rate, a closed loop.
        seed: of the arrivals.
        percentiles, objectives: see :func:`summarise`.
    """

    rate: float = math.inf
    concurrency: int | None = None
    seed: int = 0
    percentiles: tuple[float, ...] = (50, 90, 99)
    objectives: Mapping[str, float] | None = None


def client(base_url: str, timeout: float = 600.0, key: str | None = None) -> httpx.AsyncClient:
    """Connections to a server; ``base_url`` ends in ``/v1``."""
    # How many are open at a time is for the load to say: a request that waited for a connection
    # here would seem slow.
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/") + "/",
        timeout=httpx.Timeout(timeout, connect=30.0),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=256),
        headers={"authorization": f"Bearer {key}"} if key else {},
    )


async def first_model(http: httpx.AsyncClient) -> str:
    """The name of what is served.

    Raises:
        EvalError: nobody answers, or not as a server of models does.
    """
    try:
        response = await http.get("models")
        response.raise_for_status()
        return str(response.json()["data"][0]["id"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise EvalError(f"no models at {http.base_url}: {error!r}") from error


async def bench(
    http: httpx.AsyncClient,
    asking: Asking,
    jobs: Sequence[Job],
    plan: Plan,
    warm: Sequence[Job] = (),
    done: Callable[[Outcome], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure a server; keys as in vLLM's result files.

    Args:
        warm: asked first, one after another, and forgotten. done: told of each outcome.

    Raises:
        EvalError: not even a warm-up request is answered.
    """
    for job in warm:
        tried = await ask(http, asking, job)
        if not tried.ok:
            raise EvalError(f"the first request failed: {tried.error}")
    before = await scrape(http)
    outcomes, seconds = await drive(
        jobs,
        lambda job, index: ask(http, asking, job, index),
        arrivals(len(jobs), plan.rate, plan.seed),
        plan.concurrency,
        done,
    )
    speculation = between(before, await scrape(http))
    told: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": "openai-chat" if asking.chat else "openai",
        "model_id": asking.model,
        "num_prompts": len(jobs),
        "request_rate": plan.rate if math.isfinite(plan.rate) else "inf",
        "burstiness": 1.0,
        "max_concurrency": plan.concurrency,
        "seed": plan.seed,
        "ignore_eos": asking.ignore_eos,
        "goodput_objectives_ms": dict(plan.objectives or {}) or None,
    }
    told |= summarise(outcomes, seconds, plan.percentiles, plan.objectives)
    if speculation is not None:
        told |= speculation.named()
    return told | details(outcomes)


async def scrape(http: httpx.AsyncClient) -> Counts | None:
    """The server's speculation counters now; None where it has none to show."""
    root = str(http.base_url).rstrip("/").removesuffix("/v1")
    try:
        response = await http.get(f"{root}/metrics", timeout=_SCRAPE_SECONDS)
    except httpx.HTTPError:
        return None
    return parse(response.text) if response.status_code == 200 else None
