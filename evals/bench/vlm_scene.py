"""Sequences that begin with a picture, from reading to drafting, as the engine does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from shapes_scene import ANSWER, NODES, Decoding
from vlm_drafters import CHILDREN, widen

from mmspec.core.request import Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.engine.settle import reading
from mmspec.model.prefill import Prefill

if TYPE_CHECKING:
    from vlm_meter import Laps
    from vlm_models import Plan

    from mmspec.core.request import Media
    from mmspec.model.families.family import Encoded
    from mmspec.model.target import Target
    from mmspec.text.eagle import Eagle


class Scene(Decoding):
    """Sequences whose prompts are ``context`` tokens with a picture, as far as they are read.

    Args:
        chunk: tokens of one prefill pass.
    """

    def __init__(
        self, plan: Plan, target: Target, drafters: dict[str, Eagle], context: int, count: int,
        chunk: int,
    ) -> None:  # fmt: skip
        sampling = Sampling(temperature=0.0, max_tokens=ANSWER, ignore_eos=True)
        prompts = [plan.prompt(context, index) for index in range(count)]
        sequences = [
            Sequence(Request(f"{context} {index}", prompt, sampling), 0, 0)
            for index, prompt in enumerate(prompts)
        ]
        cache = target.new_cache(count * (context + ANSWER + NODES + 1), chunk, NODES + 1)
        super().__init__(target, drafters, sequences, cache)
        self._feature_drafters, self._chunk = drafters, chunk
        self._encoded: dict[str, Encoded] = {}

    def see(self, index: int, lap: Laps) -> None:
        """Encode a sequence's picture."""
        for media in self.sequences[index].prompt.media:
            self._encoded[media.digest] = self.target.encode(media)
        lap("vision tower")

    def read(self, index: int, lap: Laps) -> None:
        """Prefill a sequence, all drafters watching; its last token stays, to be a tree's root."""
        sequence, cache = self.sequences[index], self.cache
        cache.open(sequence.id, len(sequence) + ANSWER)
        prefill = Prefill(self.target, sequence, self._look)
        while sequence.pending > 1:
            stop = min((sequence.cached // self._chunk + 1) * self._chunk, len(sequence) - 1)
            output = self.target.forward(prefill.chunk(stop, cache), cache, self.needs)
            lap("target")
            count = stop - sequence.cached
            cache.commit(sequence.id, np.arange(count))
            tokens = sequence.tokens[sequence.cached : stop]
            sequence.cached = stop
            seen = reading(tokens, output.hidden)
            for name, drafter in self.drafters.items():
                drafter.observe([sequence], seen)
                lap(name)

    def draft(self, name: str, batch: int, width: int, depth: int, lap: Laps) -> None:
        """A tree of ``width`` nodes expanded at each depth down to ``depth``."""
        widen(self._feature_drafters[name], width)
        self.grow(name, batch, (width, CHILDREN), depth, lap)

    def _look(self, media: Media) -> Encoded:
        return self._encoded[media.digest]
