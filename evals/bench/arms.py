"""Arms in turn on the same prompts: decoding timed, ids held to the first arm's, speeds as ratios.

Speedups are of tokens a second of decoding, prefill left out; tau counts the bonus.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmspec.core.request import Request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as ListOf

    from mmspec.core.request import Prompt, Sampling, Speculation
    from mmspec.engine.engine import Engine


class Run(NamedTuple):
    """One prompt, or one batch, decoded once.

    Attributes:
        seconds, tokens: after the first token. drafting: seconds of those in drafters.
        rounds, emitted: target passes, and what they emitted.
    """

    ids: list[tuple[int, ...]]
    seconds: float
    tokens: int
    rounds: int
    emitted: int
    drafting: float


def decode(
    engine: Engine, prompts: ListOf[Prompt], speculation: Speculation, sampling: Sampling
) -> Run:
    """All prompts together; the clock runs from the last one's first token to the end."""
    ids: dict[str, list[int]] = {}
    for index, prompt in enumerate(prompts):
        ids[str(index)] = []
        engine.submit(Request(str(index), prompt, sampling, speculation))
    waiting, began, first, rounds, emitted, drafting = set(ids), 0.0, 0, 0, 0, 0.0
    while engine.busy:
        for delta in engine.step():
            ids[delta.request_id] += delta.tokens
            waiting.discard(delta.request_id)
            if delta.report is not None:
                rounds += delta.report.rounds
                emitted += round(delta.report.tau * delta.report.rounds)
        if not waiting and not began:
            began, first = time.perf_counter(), sum(map(len, ids.values()))
            drafting = engine.drafting.seconds
    seconds, drafting = time.perf_counter() - began, engine.drafting.seconds - drafting
    told = [tuple(row) for row in ids.values()]
    return Run(told, seconds, sum(map(len, told)) - first, rounds, emitted, drafting)


def versus(
    engine: Engine, groups: ListOf[ListOf[Prompt]], samplings: ListOf[Sampling],
    arms: Mapping[str, Speculation],
) -> dict[str, object]:  # fmt: skip
    """Every arm on every group of prompts, in turn; speedups over the first arm."""
    runs: dict[str, list[Run]] = {arm: [] for arm in arms}
    for turn, (group, sampling) in enumerate(
        (group, sampling) for sampling in samplings for group in groups
    ):
        order = list(arms)[turn % len(arms) :] + list(arms)[: turn % len(arms)]
        for arm in order:
            runs[arm].append(decode(engine, group, arms[arm], sampling))
    plain = next(iter(runs.values()))
    told: dict[str, object] = {"prompts": sum(map(len, groups)), "seeds": len(samplings)}
    told["tokens"] = float(np.mean([len(row) for run in plain for row in run.ids]))
    for arm, own in runs.items():
        same = [one.ids == two.ids for one, two in zip(own, plain, strict=True)]
        if not all(same):
            raise SystemExit(f"{arm}: text differs from plain decoding")
        told[arm] = speed(own, plain)
    return told


def speed(own: list[Run], plain: list[Run]) -> dict[str, object]:
    """Tokens a second over plain's, with a 95 % interval over prompts, and tau."""
    rate = np.array([(run.tokens, run.seconds) for run in own])
    base = np.array([(run.tokens, run.seconds) for run in plain])

    def ratio(chosen: np.ndarray) -> float:
        mine, theirs = rate[chosen].sum(0), base[chosen].sum(0)
        return float((mine[0] / mine[1]) / (theirs[0] / theirs[1]))

    draw = np.random.default_rng(0)
    drawn = [ratio(draw.integers(0, len(own), len(own))) for _ in range(2000)]
    taus = [run.emitted / max(1, run.rounds) for run in own]
    return {
        "tau": sum(run.emitted for run in own) / max(1, sum(run.rounds for run in own)),
        "tau_sd_of_prompts": float(np.std(taus)),
        "speedup": ratio(np.arange(len(own))),
        "interval": [float(np.quantile(drawn, q)) for q in (0.025, 0.975)],
        "draft_share": sum(run.drafting for run in own) / sum(run.seconds for run in own),
        "tokens_per_second": float(rate[:, 0].sum() / rate[:, 1].sum()),
    }
