"""Outcomes to numbers, under the keys of vLLM's result files.

TPOT is (latency - TTFT) / (tokens - 1); ITL is the gap between chunks, in which several tokens may
come together, so with speculation it is not time per token. Where there is nothing to average the
value is None: zero would look like a result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmspec_evals.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mmspec_evals.serving.job import Outcome

PARTS = ("ttft", "tpot", "itl", "e2el")
GOALS = ("ttft", "tpot", "e2el")


def goals(words: Iterable[str]) -> dict[str, float]:
    """Service-level objectives: ``["ttft:500", "tpot:50"]`` in milliseconds, as a table.

    Raises:
        PlanError: not of that form, or of something that has no objective.
    """
    table: dict[str, float] = {}
    for word in words:
        name, _, value = word.partition(":")
        try:
            table[name] = float(value)
        except ValueError:
            table[name] = -1.0
        if name not in GOALS or not table[name] >= 0:
            raise PlanError(f"--goodput takes {', '.join(GOALS)} with milliseconds, as ttft:500")
    return table


def summarise(
    outcomes: Sequence[Outcome],
    seconds: float,
    percentiles: Sequence[float] = (50, 90, 99),
    objectives: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """All numbers of a run.

    Args:
        outcomes: in the order of the requests.
        seconds: from the first request to the last answer.
        percentiles: which ones to report.
        objectives: milliseconds that a request must keep to count as good; see :func:`goals`.
    """
    good = [one for one in outcomes if one.ok]
    prompt = sum(one.prompt_tokens for one in good)
    output = sum(one.output_tokens for one in good)
    kept = sum(_keeps(one, objectives or {}) for one in good)
    told: dict[str, Any] = {
        "duration": seconds,
        "completed": len(good),
        "failed": len(outcomes) - len(good),
        "total_input_tokens": prompt,
        "total_output_tokens": output,
        "request_throughput": len(good) / seconds,
        "request_goodput": kept / seconds if objectives else None,
        "slo_attainment": kept / len(outcomes) if objectives and outcomes else None,
        "output_throughput": output / seconds,
        "total_token_throughput": (prompt + output) / seconds,
        "max_concurrent_requests": peak(good),
        "uncounted": sum(not one.counted for one in good),
    }
    for name, values in _series(good).items():
        told |= _statistics(name, values, percentiles)
    return told


def details(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    """Every request, one list a quantity; seconds from the first start."""
    first = min((one.start for one in outcomes), default=0.0)
    return {
        "input_lens": [one.prompt_tokens for one in outcomes],
        "output_lens": [one.output_tokens if one.ok else 0 for one in outcomes],
        "ttfts": [one.ttft for one in outcomes],
        "itls": [one.gaps for one in outcomes],
        "latencies": [one.latency for one in outcomes],
        "start_times": [one.start - first for one in outcomes],
        "queue_times": [one.queued for one in outcomes],
        "generated_texts": [one.text for one in outcomes],
        "errors": [one.error for one in outcomes],
    }


def peak(outcomes: Iterable[Outcome]) -> int:
    """Most requests that were open at one moment; who ends as another begins has left."""
    moments = sorted(
        moment for one in outcomes for moment in ((one.start, 1), (one.start + one.latency, -1))
    )
    open_now, most = 0, 0
    for _, change in moments:
        open_now += change
        most = max(most, open_now)
    return most


def spelled(percentile: float) -> str:
    """99.0 as "99", 99.9 as "99.9": part of a key."""
    return f"{percentile:g}"


def _series(good: Sequence[Outcome]) -> dict[str, list[float]]:
    return {
        "ttft": [one.ttft for one in good],
        "tpot": [one.tpot for one in good if one.tpot is not None],
        "itl": [gap for one in good for gap in one.gaps],
        "e2el": [one.latency for one in good],
    }


def _statistics(
    name: str, values: Sequence[float], percentiles: Sequence[float]
) -> dict[str, float | None]:
    """Milliseconds."""
    keys = [f"{word}_{name}_ms" for word in ("mean", "median", "std")]
    keys += [f"p{spelled(p)}_{name}_ms" for p in percentiles]
    if not values:
        return dict.fromkeys(keys)
    found = np.array(values) * 1000
    numbers = [found.mean(), np.median(found), found.std(), *np.percentile(found, percentiles)]
    return {key: float(number) for key, number in zip(keys, numbers, strict=True)}


def _keeps(one: Outcome, objectives: Mapping[str, float]) -> bool:
    took = {"ttft": one.ttft, "tpot": one.tpot or 0.0, "e2el": one.latency}
    return all(took[name] * 1000 <= limit for name, limit in objectives.items())
