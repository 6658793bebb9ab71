"""Running an engine to the end of some requests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mmspec.core.config import EngineConfig
from mmspec.core.request import Request, Sampling, Speculation
from mmspec.engine.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mmspec.core.drafter import Drafter
    from mmspec.core.request import Prompt, SpeculationReport, TokenLogprob
    from mmspec.model.target import Target

CHUNK = 32
GREEDY = Sampling(temperature=0.0, max_tokens=40)


def engine(
    target: Target,
    drafters: Mapping[str, Drafter] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    **options,
) -> Engine:
    """A small engine whose prompts span several prefill chunks; nothing depends on time in it."""
    settings = {
        "chunk": CHUNK, "max_sequences": 4, "cache_bytes": 64 << 20, "prefix_cache": False,
        "judge_rounds": 0, "enough": 4.0,
    }  # fmt: skip
    config = EngineConfig(**{**settings, **options})
    return Engine(target, config, drafters or {}, clock=clock)


def run(
    engine: Engine,
    prompts: Mapping[str, Prompt],
    sampling: Sampling | Mapping[str, Sampling] = GREEDY,
    speculation: Speculation = Speculation(),
) -> dict[str, list[int]]:
    """All of them together, each with its own sampling or all with one; id -> tokens."""
    return {id: said for id, (said, _) in reported(engine, prompts, sampling, speculation).items()}


def told(
    engine: Engine, prompts: Mapping[str, Prompt], sampling: Sampling = GREEDY
) -> dict[str, list[TokenLogprob]]:
    """The log-probabilities of each request, token by token."""
    likely: dict[str, list[TokenLogprob]] = {id: [] for id in prompts}
    for id, prompt in prompts.items():
        engine.submit(Request(id, prompt, sampling))
    while engine.busy:
        for delta in engine.step():
            likely[delta.request_id] += delta.logprobs or ()
    return likely


def reported(
    engine: Engine,
    prompts: Mapping[str, Prompt],
    sampling: Sampling | Mapping[str, Sampling] = GREEDY,
    speculation: Speculation = Speculation(),
) -> dict[str, tuple[list[int], SpeculationReport]]:
    """As ``run``, with each request's report."""
    said: dict[str, list[int]] = {id: [] for id in prompts}
    reports: dict[str, SpeculationReport] = {}
    for id, prompt in prompts.items():
        own = sampling if isinstance(sampling, Sampling) else sampling[id]
        engine.submit(Request(id, prompt, own, speculation))
    while engine.busy:
        for delta in engine.step():
            assert delta.error is None, delta.error
            said[delta.request_id] += delta.tokens
            if delta.report is not None:
                reports[delta.request_id] = delta.report
    return {id: (said[id], reports[id]) for id in prompts}
