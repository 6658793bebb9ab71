"""One prompt on its way into the cache: its positions, and its pictures' features as needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from mmspec.model.batch import Batch, pack_chunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.core.request import Media
    from mmspec.core.sequence import Sequence
    from mmspec.model.cache import KVCache
    from mmspec.model.families.family import Encoded
    from mmspec.model.target import Target


class Prefill:
    """Cuts a prompt into chunks; picture state lives here, never on a module.

    Args:
        target: the model. sequence: whose prompt it is; its rotary shift is set here.
        look: where the features of its pictures are found; None: each is encoded when a chunk
            first needs it, and kept for the chunks that follow.
    """

    def __init__(
        self,
        target: Target,
        sequence: Sequence,
        look: Callable[[Media], Encoded] | None = None,
    ) -> None:
        self._target = target
        self._sequence = sequence
        self._look = look or self._encode
        self._encoded: dict[str, Encoded] = {}  # by digest, where nobody else keeps them
        self._positions, sequence.position_shift = target.positions(sequence.prompt)

    def chunk(self, stop: int, cache: KVCache) -> Batch:
        """The batch of the next chunk, up to token ``stop``."""
        batch = pack_chunk(self._sequence, stop, self._positions, cache)
        start = self._sequence.cached
        pictures = [m for m in self._sequence.prompt.media if _overlap(m, start, stop)]
        return self._with_pictures(batch, pictures, start, stop) if pictures else batch

    @torch.inference_mode()
    def _with_pictures(self, batch: Batch, pictures: list[Media], start: int, stop: int) -> Batch:
        embeds = self._target.embed(batch.tokens).clone()
        seen = torch.zeros(batch.tokens.shape, dtype=torch.bool, device=embeds.device)
        layers: list[list[torch.Tensor]] = []
        for media in pictures:
            encoded = self._look(media)
            first, last = max(media.start, start), min(media.start + media.length, stop)
            rows = slice(first - start, last - start)
            part = slice(first - media.start, last - media.start)
            embeds[0, rows] = encoded.embeds[part]
            seen[0, rows] = True
            layers.append([layer[part] for layer in encoded.deepstack])
        deepstack = tuple(torch.cat(parts) for parts in zip(*layers, strict=True))
        return replace(batch, embeds=embeds, seen=seen, deepstack=deepstack or None)

    def _encode(self, media: Media) -> Encoded:
        if media.digest not in self._encoded:
            self._encoded[media.digest] = self._target.encode(media)
        return self._encoded[media.digest]


def _overlap(media: Media, start: int, stop: int) -> bool:
    return media.start < stop and media.start + media.length > start
