"""One long text in a cache that was never prefilled: its keys and values are noise.

What attention costs does not depend on what keys say. Drafters are brought to the state they would
be in: one of features has noise for keys too and reads true ones of the last tokens, the one of
excerpts reads an excerpt, the others hold nothing that a draft does not make by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from shapes_scene import ANSWER, NODES, Decoding

from mmspec.core.drafter import Observation
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.engine.settle import reading
from mmspec.longctx.longspec import Longspec
from mmspec.longctx.rapid import Rapid
from mmspec.longctx.self_window import SelfWindow
from mmspec.model.keys import Keys
from mmspec.model.prefill import Prefill
from mmspec.text.eagle import CHAIN, Eagle

if TYPE_CHECKING:
    from long_drafters import Drafted
    from vlm_meter import Laps

    from mmspec.model.target import Target

BEHIND = ANSWER + NODES + 1  # slots behind the context


class LongScene(Decoding):
    """A text of ``context`` tokens of which all but the last chunk are cached.

    Args:
        chunk: tokens of the prefill pass at its end.
    """

    def __init__(
        self, target: Target, drafted: dict[str, Drafted], context: int, chunk: int, seed: int
    ) -> None:
        ids = np.random.default_rng(seed).integers(10, target.facts.vocabulary, context)
        sampling = Sampling(temperature=0.0, max_tokens=ANSWER, ignore_eos=True)
        sequence = Sequence(Request(f"long {context}", Prompt(ids), sampling), 0, 0)
        cache = target.new_cache(context + BEHIND, chunk, NODES + 1)
        for layer in cache.store:  # layer by layer, so that no index outgrows 31 bits
            layer.normal_()
        super().__init__(target, {k: one.drafter for k, one in drafted.items()}, [sequence], cache)
        self.sequence, self._drafted = sequence, drafted
        self._prefill = Prefill(target, sequence)
        cache.open(sequence.id, context + ANSWER)
        self._commit(context - 1 - chunk)
        for drafter in self.drafters.values():
            if isinstance(drafter, Longspec | SelfWindow):
                drafter.borrow(Keys(cache))

    def chunk(self, lap: Laps) -> None:
        """The last chunk of the prompt; not committed, so it can be had again."""
        batch = self._prefill.chunk(len(self.sequence) - 1, self.cache)
        self.target.forward(batch, self.cache, self.needs)
        lap("chunk")

    def end_prefill(self) -> None:
        """Keep the last chunk; the text's last token stays, to be a tree's root."""
        self._commit(len(self.sequence) - 1 - self.sequence.cached)

    def enter(self, name: str, lap: Laps) -> None:
        """Bring a drafter to where a draft begins, as if it had watched from the first token."""
        drafter, sequence = self.drafters[name], self.sequence
        drafter.forget(sequence.id)
        if isinstance(drafter, Eagle):
            memory = drafter._memories.watch(sequence, 0, sequence.cached)
            if memory is None:
                raise RuntimeError(f"{name}: no room for {sequence.cached} tokens")
            memory.filled = memory.end = sequence.cached - CHAIN
            last = sequence.tokens[memory.end : sequence.cached]
            width, like = drafter.rows.config.target_hidden, self.cache.store
            noise = {
                layer: like.new_empty(CHAIN, width).normal_() for layer in drafter.needs.layers
            }
            drafter.observe([sequence], reading(last, noise))
        elif isinstance(drafter, Rapid):
            while not drafter.ready(sequence):
                pass
        lap("enter")

    def draft(self, name: str, depth: int, lap: Laps) -> None:
        """A tree down to ``depth``; what pages are seen is chosen anew each time, by noise."""
        drafter, like = self.drafters[name], self.cache.store
        if drafter.needs.queries:
            group = self.target.heads // self.target.kv_heads
            shape = (1, self.target.kv_heads, group, self.target.head_dim)
            asked = {layer: like.new_empty(shape).normal_() for layer in drafter.needs.queries}
            last = self.sequence.tokens[self.sequence.cached - 1 : self.sequence.cached]
            seen = Observation(np.array([0, 1], np.int32), last, queries=asked)
            drafter.observe([self.sequence], seen)
        self.grow(name, 1, self._drafted[name].shape, depth, lap)

    def settle(self, batch: int, lap: Laps) -> None:
        """As ever; and keys of the new tokens, where a drafter makes them when it drafts next."""
        super().settle(batch, lap)
        for name, drafter in self.drafters.items():
            if isinstance(drafter, Longspec):
                drafter._ready(self.sequence)
                lap(name)

    def drop(self, name: str) -> None:
        """Go on without a drafter, as the engine does with one that raised."""
        self.drafters.pop(name).forget(self.sequence.id)

    def close(self) -> None:
        """Give back what the drafters hold, and their views of the cache, whose room is needed."""
        super().close()
        for one in self._drafted.values():
            if isinstance(one.drafter, Longspec | SelfWindow):
                one.drafter._keys = None

    def _commit(self, count: int) -> None:
        self.cache.commit(self.sequence.id, np.arange(count))
        self.sequence.cached += count


def fits(target: Target, context: int, spare: int) -> bool:
    """Whether the device has room for a cache of ``context`` tokens, and ``spare`` bytes more."""
    if target.device.type != "cuda":
        return True
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(target.device)
    return (context + BEHIND) * target.bytes_per_token() + spare < free
