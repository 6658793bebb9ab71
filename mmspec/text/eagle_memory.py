"""What a feature drafter holds of every sequence: keys and values of true features, and one state.

The slots after a sequence's true ones are scratch: a tree's own states live there while it grows
and are written over by the next one, so only true features ever persist.

Axes: B sequences, T rows, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from mmspec_kernels.layout import ChunkLayout, Reading, TreeLayout, Window, tail_width

from mmspec.core.errors import CacheFullError
from mmspec.model.cache import KVCache
from mmspec.text.eagle_compiled import follow, place
from mmspec.text.eagle_rows import ROWS, Spots

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    import torch

    from mmspec.core.sequence import Sequence

REACH = 16  # the deepest tree


@dataclass(slots=True)
class Memory:
    """One sequence.

    Attributes:
        start: absolute position of its first slot; later than 0 when met in the middle.
        filled: slots with true features.
        state, normed: [H], what the network says at the last of them, and as its head reads it.
    """

    sequence: Sequence
    base: int
    room: int
    start: int
    filled: int = 0
    state: torch.Tensor | None = None
    normed: torch.Tensor | None = None

    @property
    def end(self) -> int:
        """Absolute position after the last true slot."""
        return self.start + self.filled

    @property
    def home(self) -> tuple[int, int, int, int]:
        """As ``eagle_compiled.place`` reads it."""
        return self.base, self.filled, self.start, 0


class Memories:
    """All sequences in one bounded store.

    Args:
        shape: (kv heads, head dimension). slots: tokens over all sequences.
        scratch: slots of a growing tree. context: most tokens of one sequence.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        slots: int,
        scratch: int,
        context: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._cache = KVCache(
            (1, *shape), max(slots, 2 * scratch), dtype=dtype, device=device, chunk=1,
            scratch=scratch,
        )  # fmt: skip
        self._context = context
        self._held: dict[str, Memory] = {}

    @property
    def store(self) -> torch.Tensor:
        """Keys and values, [2, kv heads, S, D]."""
        return self._cache.store[0]

    def ready(self, sequence: Sequence) -> Memory | None:
        """The sequence's memory, if it has read all but the last decided token."""
        held = self._held.get(sequence.id)
        if held is None or held.sequence is not sequence or held.end != len(sequence) - 1:
            return None
        return held if held.filled else None

    def watch(self, sequence: Sequence, start: int, count: int) -> Memory | None:
        """The memory into which the tokens from ``start`` on go; None when there is no room.

        A gap in what was shown, or an id used again, begins a new one.
        """
        held = self._held.get(sequence.id)
        if held is not None and (held.sequence is not sequence or held.end != start):
            self.forget(sequence.id)
            held = None
        if held is None:
            asked = sequence.request.sampling.max_tokens
            last = self._context if asked is None else sequence.prompt_length + asked
            room = max(min(last, self._context) - start, count)
            try:
                self._cache.open(sequence.id, room)
            except CacheFullError:
                return None
            held = Memory(sequence, self._cache.base(sequence.id), room, start)
            self._held[sequence.id] = held
        return held if held.filled + count <= held.room else None

    def forget(self, id: str) -> None:
        """Give the slots back; unknown ids are fine."""
        if self._held.pop(id, None) is not None:
            self._cache.free(id)


def chunk_spots(memory: Memory, count: int) -> Spots:
    """The next ``count`` true slots of one sequence, in one causal pass."""
    local = np.arange(memory.filled, memory.filled + count)
    layout = ChunkLayout(base=memory.base, start=memory.filled)
    return Spots(local + memory.base, local + memory.start, layout)


def chain_spots(memories: ListOf[Memory], counts: np.ndarray) -> Spots:
    """The next true slots of many sequences, ``counts`` int64 [B] of each."""
    homes = np.array([memory.home for memory in memories], np.int64)
    rows, path, tail = _room(int(counts.sum()))
    follow(counts, REACH, homes, (rows, path, tail))
    return _spots(int(counts.sum()), rows, path, tail)


class Grove:
    """Scratch slots of trees that grow together, level by level."""

    def __init__(self, memories: ListOf[Memory]) -> None:
        self._homes = np.array([memory.home for memory in memories], np.int64)
        self._trail = np.zeros((0, 0), np.int32)

    def level(self, owner: np.ndarray, parents: np.ndarray, depth: int) -> Spots:
        """Rows int64 [T] of the nodes at ``depth``, whose parents stand in the level before."""
        count = len(owner)
        rows, path, tail = _room(count)
        own = np.empty((count, depth), np.int32)
        place(owner, parents, self._trail, depth, REACH, self._homes, (rows, path, tail, own))
        self._trail = own
        spots = _spots(count, rows, path, tail)
        alone = len(self._homes) == 1 and count <= ROWS
        return spots._replace(reading=_shared(spots.layout)) if alone else spots


def _shared(layout: TreeLayout | ChunkLayout) -> Reading:
    """One group of rows at one depth of one tree: they all read the same block."""
    assert isinstance(layout, TreeLayout)
    base, end = int(layout.base[0]), int(layout.path[0, 0])
    window = np.where(layout.tail > 0, 0 if end > base else -1, -1).astype(np.int32)
    return Reading(
        windows=(Window(0, base, end),) if end > base else (),
        window=window,
        offset=np.arange(len(window), dtype=np.int32),
        extra=layout.base,
        extra_end=layout.base,
        skip=np.zeros(len(window), np.int32),
    )


def _room(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    total = -(-count // ROWS) * ROWS
    path = np.zeros((total, tail_width(REACH)), np.int32)
    return np.zeros((4, total), np.int64), path, np.zeros(total, np.int32)


def _spots(count: int, rows: np.ndarray, path: np.ndarray, tail: np.ndarray) -> Spots:
    slots, local, base, absolute = rows
    layout = TreeLayout(
        slots=slots, path=path, tail=tail, position=local, base=base, rows=ROWS, reach=REACH,
        count=count,
    )  # fmt: skip
    return Spots(slots[:count], absolute[:count], layout)
