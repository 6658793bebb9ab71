"""KVCache: keys and values of every sequence in flight, and of prompts worth remembering.

On CPU each sequence owns one contiguous extent of slots, so reading its prefix is a view. The
store is address space; the operating system gives it pages as they are touched. What is not
committed never happened: the next reservation writes over it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from mmspec_kernels.attention import move_rows

from mmspec.core.errors import CacheFullError
from mmspec.core.sequence import UNSHARED, Prefix

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.request import Prompt


class Place(NamedTuple):
    """Where a sequence stands in the store.

    Attributes:
        base: slot of its position 0. used: committed tokens. free: slots behind them that are its.
    """

    base: int
    used: int
    free: int


@dataclass(slots=True)
class _Extent:
    """Slots ``[base, base + room)``; ``used`` tokens are committed."""

    base: int
    room: int
    used: int = 0
    keys: ListOf[bytes] = ()  # identities of its whole prefill chunks
    pinned: bool = False  # once retained, goes after those that are not


class KVCache:
    """The store ``[layers, 2, Hkv, S, D]`` and who owns which part of it.

    Args:
        shape: (layers, Hkv, D).
        slots: tokens it can hold, over all sequences.
        dtype: of keys and values. device: where they live.
        chunk: the prefill grid; only whole chunks are shared between prompts, so that shared keys
            have the bits that a fresh prefill would give them.
        scratch: slots past a sequence's last token that trees may borrow.
        pinned: slots that pinned prompts may hold together, while nothing in flight needs them.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        slots: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        chunk: int,
        scratch: int,
        pinned: int = 0,
    ) -> None:
        layers, heads, dim = shape
        self.store = torch.empty(layers, 2, heads, slots, dim, dtype=dtype, device=device)
        self.slots = slots
        self.chunk = chunk
        self.scratch = scratch
        self.pinned = pinned
        self._extents: dict[str, _Extent] = {}
        self._retained: OrderedDict[int, _Extent] = OrderedDict()  # by base, least recent first
        self._chunks: dict[bytes, _Extent] = {}  # identity of a chunk and all before it -> holder

    @property
    def used(self) -> int:
        """Slots owned by sequences in flight."""
        # A copy: whoever reads the metrics does so beside the thread that opens sequences.
        return sum(extent.room for extent in list(self._extents.values()))

    @property
    def slot_bytes(self) -> int:
        """Bytes of keys and values one slot takes."""
        return self.store.nbytes // self.slots

    def open(self, id: str, capacity: int) -> None:
        """Give the sequence ``id`` room for ``capacity`` tokens and a tree beyond them.

        Raises:
            CacheFullError: no gap is wide enough, even with nothing remembered.
        """
        room = capacity + self.scratch
        base = self._gap(room)
        while base is None:
            if not self._retained:
                raise CacheFullError(f"no room for {room} tokens among {self.slots}")
            self._drop(self._retained.pop(self._dispensable()))
            base = self._gap(room)
        self._extents[id] = _Extent(base, room)

    def base(self, id: str) -> int:
        """Slot of the sequence's position 0."""
        return self._extents[id].base

    def place(self, id: str) -> Place | None:
        """Where the sequence ``id`` stands; None where it is not open."""
        extent = self._extents.get(id)
        if extent is None:
            return None
        return Place(extent.base, extent.used, extent.room - extent.used)

    def reserve(self, id: str, count: int) -> np.ndarray:
        """Lend ``count`` scratch slots after the committed tokens, int64 [count].

        Raises:
            CacheFullError: the sequence asked for more than it was opened with.
        """
        extent = self._extents[id]
        if extent.used + count > extent.room:
            raise CacheFullError(f"sequence {id} has {extent.room - extent.used} slots left")
        return np.arange(count) + extent.base + extent.used

    def commit(self, id: str, kept: np.ndarray) -> None:
        """Keep the lent slots with these ascending indices, in order; forget the others."""
        extent = self._extents[id]
        if len(kept) and kept[-1] != len(kept) - 1:  # otherwise they lie where they belong
            first = extent.base + extent.used
            move_rows(self.store, first + kept, first + np.arange(len(kept)))
        extent.used += len(kept)

    def free(self, id: str) -> None:
        """Give the slots back; whole prompt chunks stay readable until the room is needed."""
        extent = self._extents.pop(id, None)
        if extent is None:
            return
        if any(self._chunks.get(key) is extent for key in extent.keys):
            extent.room = len(extent.keys) * self.chunk
            self._retained[extent.base] = extent
            self._unpin()
        else:
            self._drop(extent)

    def remember(self, id: str, keys: ListOf[bytes], pinned: bool = False) -> None:
        """Make the sequence's leading prefill chunks findable under these identities.

        Args:
            pinned: let other remembered prompts go first when room is needed. Nothing in flight
                ever waits for a pin, so that pins cannot starve anybody.
        """
        extent = self._extents[id]
        extent.pinned = pinned
        for key in keys[len(extent.keys) :]:
            self._chunks.setdefault(key, extent)
        extent.keys = keys

    def match(self, id: str, keys: ListOf[bytes]) -> int:
        """Copy the longest known run of leading chunks into the sequence; tokens copied."""
        count = 0
        while count < len(keys) and keys[count] in self._chunks:
            count += 1
        if count == 0:
            return 0
        source, extent = self._chunks[keys[count - 1]], self._extents[id]
        length = count * self.chunk
        if source.base in self._retained:
            self._retained.move_to_end(source.base)
        self._copy(source, extent, length)
        extent.used = length
        self.remember(id, keys[:count])
        return length

    def keep(self, id: str, name: str, slots: int) -> None:
        """Give back all but a sequence's first slots, which are held under another name now."""
        extent = self._extents.pop(id)
        extent.room = slots
        self._extents[name] = extent

    def copy(self, source: str, id: str, slots: int) -> None:
        """Copy the first slots of what is held under ``source`` to the sequence ``id``'s first."""
        self._copy(self._extents[source], self._extents[id], slots)

    def clear(self) -> None:
        """Forget every remembered prompt."""
        while self._retained:
            self._drop(self._retained.popitem()[1])

    def _copy(self, source: _Extent, target: _Extent, length: int) -> None:
        self.store[:, :, :, target.base : target.base + length] = self.store[
            :, :, :, source.base : source.base + length
        ]

    def _gap(self, room: int) -> int | None:
        """Base of the first gap of ``room`` slots, or None."""
        free_from = 0
        taken = sorted((*self._extents.values(), *self._retained.values()), key=lambda e: e.base)
        for extent in taken:
            if extent.base - free_from >= room:
                return free_from
            free_from = extent.base + extent.room
        return free_from if self.slots - free_from >= room else None

    def _dispensable(self) -> int:
        """Base of the remembered prompt that is missed least."""
        loose = (base for base, extent in self._retained.items() if not extent.pinned)
        return next(loose, next(iter(self._retained)))

    def _unpin(self) -> None:
        """Keep to the limit: what was pinned and not read for longest is as others are."""
        pinned = [extent for extent in self._retained.values() if extent.pinned]
        held = sum(extent.room for extent in pinned)
        for extent in pinned:
            if held <= self.pinned:
                return
            extent.pinned = False
            held -= extent.room

    def _drop(self, extent: _Extent) -> None:
        for key in extent.keys:
            if self._chunks.get(key) is extent:
                del self._chunks[key]


def prefix_of(prompt: Prompt, chunk: int | None, tenant: str = "") -> Prefix:
    """What of a tenant's prompt may be shared on a prefill grid; None: nothing.

    A prompt's last token is the root of its first tree and never prefilled. Where a prompt says
    how much of it is shared, the rest is not worth remembering.
    """
    if chunk is None:
        return UNSHARED
    whole = min(prompt.shared or len(prompt.ids), len(prompt.ids) - 1) // chunk
    return Prefix(chunk, tuple(chunk_keys(prompt, chunk, tenant)[:whole]))


def chunk_keys(prompt: Prompt, chunk: int, tenant: str = "") -> list[bytes]:
    """Identity of each whole chunk of a prompt together with everything before it.

    Pictures count by place and digest, which is of pixels and processor settings, so that equal
    placeholders never stand for each other. The tenant counts too: how soon an answer begins would
    tell one that another has sent this very text.
    """
    keys: list[bytes] = []
    running = hashlib.sha256(chunk.to_bytes(8, "little"))
    running.update(hashlib.sha256(tenant.encode()).digest())
    for start in range(0, len(prompt.ids) - chunk + 1, chunk):
        running.update(np.ascontiguousarray(prompt.ids[start : start + chunk], np.int64).tobytes())
        for media in prompt.media:
            if media.start < start + chunk and media.start + media.length > start:
                running.update(hashlib.sha256(media.digest.encode()).digest())
                running.update(np.array([media.start, media.length], np.int64).tobytes())
        keys.append(running.digest())
    return keys
