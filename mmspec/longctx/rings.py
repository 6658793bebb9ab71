"""What a drafter of bounded memory holds of every sequence: keys of its last tokens.

They are functions of token ids and places, so a ring is a cache of a pure function: it is made
anew from the ids whenever it is not at hand, and nothing is ever undone.

Axes: S slots of the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmspec.core.errors import CacheFullError
from mmspec.model.cache import KVCache
from mmspec.text.spots import Home

if TYPE_CHECKING:
    import torch

    from mmspec.core.sequence import Sequence


@dataclass(slots=True)
class Ring:
    """One sequence: the keys of tokens [start, end) stand in the slots from ``base`` on.

    Attributes:
        state: [L E], the target's last features, of the token at ``known`` - 1.
    """

    sequence: Sequence
    base: int
    start: int = 0
    end: int = 0
    state: torch.Tensor | None = None
    known: int = -1

    @property
    def home(self) -> Home:
        """Where the rows that follow stand."""
        return Home(self.base, self.end - self.start, self.start)


class Rings:
    """All sequences in one bounded store; each has as much of it as any other.

    Args:
        shape: (kv heads, head dimension). span: tokens back that must be at hand.
        scratch: slots of a growing tree. sequences: how many there is room for.

    Attributes:
        store: keys and values, [2, kv heads, S, D].
        room: slots of one sequence, whatever its length.
    """

    def __init__(
        self, shape: tuple[int, int], span: int, scratch: int, sequences: int,
        dtype: torch.dtype, device: torch.device,
    ) -> None:  # fmt: skip
        self._span = span
        self.room = 2 * span + scratch
        self._cache = KVCache(
            (1, *shape), sequences * self.room, dtype=dtype, device=device, chunk=1,
            scratch=scratch,
        )  # fmt: skip
        self.store = self._cache.store[0]
        self._held: dict[str, Ring] = {}

    @property
    def bytes(self) -> int:
        """Of one sequence, whatever its length."""
        return self.room * self._cache.slot_bytes

    def of(self, sequence: Sequence) -> Ring | None:
        """The sequence's ring; None where there is no room for another."""
        held = self._held.get(sequence.id)
        if held is not None and held.sequence is not sequence:
            self.forget(sequence.id)
            held = None
        if held is None:
            try:
                self._cache.open(sequence.id, 2 * self._span)
            except CacheFullError:
                return None
            held = self._held[sequence.id] = Ring(sequence, self._cache.base(sequence.id))
        return held

    def advance(self, ring: Ring, end: int) -> tuple[int, int]:
        """Make room for the tokens up to ``end``: [first, end) are those whose keys are missing.

        Those fewer than ``span`` before the token at ``end`` are kept or among the missing.
        """
        first = max(0, end - self._span + 1)
        if ring.end < first or ring.end > end:  # met here, or a long text was read in between
            ring.start = ring.end = first
        elif end - ring.start > 2 * self._span:
            kept = ring.end - first
            source = ring.base + first - ring.start
            moved = self.store[:, :, source : source + kept].clone()
            self.store[:, :, ring.base : ring.base + kept] = moved
            ring.start = first
        missing, ring.end = ring.end, end
        return missing, end

    def forget(self, id: str) -> None:
        """Give the slots back; unknown ids are fine."""
        if self._held.pop(id, None) is not None:
            self._cache.free(id)
