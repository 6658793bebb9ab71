"""What a drafter of bounded memory holds of every sequence: keys of its last tokens.

They are functions of token ids and places, so a ring is a cache of a pure function: it is made
anew from the ids whenever it is not at hand, and nothing is ever undone.

Axes: S slots of the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from mmspec_kernels.layout import Reading, Window

from mmspec.core.errors import CacheFullError
from mmspec.model.cache import KVCache
from mmspec.text.spots import Home

if TYPE_CHECKING:
    import torch
    from mmspec_kernels.layout import TreeLayout

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


def window_reading(layout: TreeLayout, owner: np.ndarray, span: int) -> Reading:
    """What the rows of one level read: their last ``span`` keys, their own included.

    All rows of a sequence stand at one place, so they see the same of its ring and share it as one
    block, whoever stands beside them.

    Args:
        owner: int64 [F], whose row it is; ascending.
    """
    total, count = len(layout.slots), len(owner)
    split = layout.path[:, 0].astype(np.int64) - layout.base
    seen = np.maximum(layout.position - span + 1, 0)
    window, offset = np.full(total, -1, np.int32), np.zeros(total, np.int32)
    windows: list[Window] = []
    begin = 0
    while begin < count:
        end = int(np.searchsorted(owner, owner[begin], side="right"))
        base, start, stop = (int(part[begin]) for part in (layout.base, seen, split))
        for first in range(begin, end, layout.rows):
            if stop <= start:
                break
            last, at = min(first + layout.rows, end), min(first, total - layout.rows)
            window[first:last] = len(windows)
            offset[first:last] = np.arange(first, last) - at
            windows.append(Window(at, base + start, base + stop))
        begin = end
    return Reading(
        windows=tuple(windows),
        window=window,
        offset=offset,
        extra=layout.base,
        extra_end=layout.base,
        skip=np.maximum(seen - split, 0).astype(np.int32),
    )
