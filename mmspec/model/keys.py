"""What a drafter may see of the target's cache: keys and values of what is committed, by views."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from mmspec.core.sequence import Sequence
    from mmspec.model.cache import KVCache, Place


class Keys:
    """A window on a ``KVCache``; committed slots are read and never written.

    The free slots behind a sequence's committed ones hold nothing between two steps: the next
    verify writes over them. A drafter may use them while it drafts, and finds them lost after.

    Attributes:
        store: [layers, 2, Hkv, S, D].
    """

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache
        self.store = cache.store

    def place(self, sequence: Sequence) -> Place | None:
        """Where the sequence stands; None where the cache does not know it."""
        return self._cache.place(sequence.id)

    def read(self, sequence: Sequence, layer: int) -> torch.Tensor | None:
        """Keys and values of a layer as they were cached, a view [2, Hkv, n, D]; None: unknown."""
        place = self.place(sequence)
        if place is None:
            return None
        return self.store[layer, :, :, place.base : place.base + place.used]
