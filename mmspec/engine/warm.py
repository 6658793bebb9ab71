"""One throwaway request, so that no client waits for a compiler or a first touch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from mmspec.core import warm as core_warm
from mmspec.core.request import Prompt, Request, Sampling, Speculation

if TYPE_CHECKING:
    from mmspec.engine.engine import Engine


_log = logging.getLogger(__name__)


def warm(engine: Engine) -> None:
    """Prefill, draft, verify and commit once, greedy and sampled; leaves no trace in the stats."""
    _log.info("warming up; the very first start also compiles the kernels")
    core_warm.warm(engine.target.dtype)
    facts = engine.target.facts
    banned = facts.media_tokens | facts.stop_tokens
    token = next(id for id in range(facts.vocabulary) if id not in banned)
    length = min(engine.config.chunk + 80, engine.target.max_context - 8)
    ids = np.full(max(1, length), token, np.int64)
    for index, temperature in enumerate((0.0, 1.0)):
        sampling = Sampling(
            temperature=temperature, max_tokens=4, seed=0, ignore_eos=True, logprobs=1
        )
        # Nothing is measured by it: its seconds are a compiler's.
        once = Speculation(adaptive=False)
        engine.submit(Request(f"warm-{index}", Prompt(ids), sampling, once))
        while engine.busy:
            engine.step()
    engine.reset()
