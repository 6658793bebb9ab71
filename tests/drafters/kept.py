"""A drafter that reads its target's keys, with a small real target that keeps up beside it.

The toy target decides what comes next; the real one only caches it, so that there are keys.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch
from drafters.markov import FACTS, HIDDEN, VOCABULARY
from mmspec_kernels.layout import ChunkLayout
from transformers import LlamaConfig, LlamaForCausalLM

from mmspec.model.batch import Batch
from mmspec.model.keys import Keys
from mmspec.model.target import Target

ROOM, SCRATCH = 512, 65
LAYERS, KV_HEADS, DIM = 3, 2, 8


@functools.cache
def target() -> Target:
    """A Llama of some opinion."""
    settings = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=24, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=KV_HEADS, head_dim=DIM,
        max_position_embeddings=4096, bos_token_id=None, eos_token_id=None,
        tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = LlamaForCausalLM(settings).float()
        for name, value in model.named_parameters():
            value.data.normal_(1.0 if "norm" in name else 0.0, 0.4)
    return Target(model, numerics="bitwise")


def facts():
    """The toy's, with the real target in them."""
    return replace(FACTS, model=target())


class Kept:
    """What the drafter is, and a cache that holds what the engine's would."""

    def __init__(self, drafter) -> None:
        self.drafter, self.needs = drafter, drafter.needs
        self.cache = target().new_cache(16 * (ROOM + SCRATCH), chunk=1, scratch=SCRATCH)
        self.cache.store.zero_()
        self._known = {}
        drafter.borrow(Keys(self.cache))

    def observe(self, sequences, seen) -> None:
        for one in sequences:
            self.keep_up(one)
        self.drafter.observe(sequences, seen)

    def draft(self, sequences, budgets):
        for one in sequences:
            self.keep_up(one)
        return self.drafter.draft(sequences, budgets)

    def forget(self, id: str) -> None:
        if self._known.pop(id, None) is not None:
            self.cache.free(id)
        self.drafter.forget(id)

    @torch.inference_mode()
    def keep_up(self, one) -> None:
        """Cache the tokens that the sequence says are cached."""
        if self._known.get(one.id) is not one:
            self.forget(one.id)
            self.cache.open(one.id, ROOM)
            self._known[one.id] = one
        base, used, _ = self.cache.place(one.id)
        if used == one.cached:
            return
        tokens = torch.from_numpy(np.minimum(one.tokens[used : one.cached], VOCABULARY - 1))[None]
        positions = torch.arange(used, one.cached)[None] + one.position_shift
        batch = Batch(tokens, positions, ChunkLayout(base, used), tokens.shape[1])
        target().forward(batch, self.cache)
        self.cache.commit(one.id, np.arange(tokens.shape[1]))


def keep(drafter):
    """The drafter, with a target to read if it needs one."""
    return Kept(drafter) if drafter.needs.keys else drafter
