"""What one tenant's finished texts left: the latest in memory, older ones in segments on disk.

Never shared: the folder is named, and every segment in it marked, with a digest of the tenant.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmspec.core.errors import CorpusError
from mmspec.retrieval.chunks import cut, fresh
from mmspec.retrieval.memtable import Memtable
from mmspec.retrieval.segment_build import Draft
from mmspec.retrieval.shelf import Shelf, texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mmspec.retrieval.segment import Identity, Segment

_log = logging.getLogger(__name__)
TOKEN_BYTES = 8  # of a token, with its sorted place


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one tenant's memory.

    Attributes:
        quota: bytes of all its texts.
        seal: tokens in memory from which they go to disk.
        depth: longest match that is asked for, in tokens.
    """

    quota: int
    seal: int
    depth: int


class Memory:
    """One tenant's texts. One thread changes it; any may read ``segments``.

    Args:
        identity: the tokenizer.
        bars: int64 [1 + M], the size of the vocabulary, and ids at which a text is cut.
        folder: where older texts go; None: nowhere, then there is room for ``limits.seal`` tokens.
        owner: digest of the tenant.

    Raises:
        CorpusError: the folder cannot be made or read.
    """

    def __init__(
        self, identity: Identity, bars: np.ndarray, limits: Limits, folder: Path | None, owner: str
    ) -> None:
        self._identity, self._bars, self._limits, self._owner = identity, bars, limits, owner
        self._table = Memtable(identity, limits.depth)
        self._known: set[int] | None = None
        self._shelf: Shelf | None = None
        if folder is not None:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise CorpusError(f"{folder}: {error.strerror}") from error
            self._shelf = Shelf(folder, identity, owner)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What may be searched now."""
        older = self._shelf.mounted if self._shelf else ()
        latest = self._table.segment
        return (latest, *older) if len(latest) else older

    @property
    def bytes(self) -> int:
        """Of all texts, in memory and on disk."""
        return sum(one.bytes for one in self.segments) + TOKEN_BYTES * len(self._table)

    def refresh(self) -> None:
        """See what others did to the folder."""
        if self._shelf is not None:
            self._shelf.refresh()

    def add(self, ids: np.ndarray, taken: int) -> None:
        """Remember what of a text, int64 [K], is new; what goes beyond the quota goes."""
        if self._known is None:
            self._known = self._chunks()
        most = max(self._limits.quota // TOKEN_BYTES // 2, 1)
        if self._shelf is None:
            most = min(most, self._limits.seal // 2)
        for stretch in self._stretches(ids):
            for part in fresh(stretch, self._known, self._limits.depth):
                for first in range(0, len(part), most):
                    self._table.add(part[first : first + most], taken)
                    self._make_room()

    def seal(self) -> None:
        """Have all of it on the disk, if there is a folder.

        Raises:
            CorpusError: it cannot be written; it stays in memory.
        """
        if self._shelf is None or not len(self._table):
            return
        with Draft(self._shelf.folder, self._identity, self._owner) as draft:
            for index, ids in texts(self._table.segment):
                draft.add(ids, self._table.taken[index])
            self._shelf.add(draft)
        self._table.clear()

    def clear(self) -> None:
        """Forget what is not on the disk."""
        self._table.clear()
        self._known = None

    def _make_room(self) -> None:
        quota = self._limits.quota
        if self._shelf is None:
            if len(self._table) > min(self._limits.seal, quota // TOKEN_BYTES):
                self._halve()
            return
        if len(self._table) < min(self._limits.seal, quota // TOKEN_BYTES):
            return
        try:
            self.seal()
            while self.bytes > quota and self._shelf.mounted:
                self._evict(self._shelf)
            while self._shelf.merge(max(quota // TOKEN_BYTES // 4, 1)):
                pass
        except CorpusError as error:
            _log.warning("a tenant's texts stay in memory: %s", error)
            if len(self._table) >= self._limits.seal:
                self._halve()

    def _halve(self) -> None:
        """Keep the newer half of what is in memory."""
        held = list(texts(self._table.segment))
        taken, size = self._table.taken, 0
        kept: list[tuple[np.ndarray, int]] = []
        for index, ids in reversed(held):
            size += len(ids) + 1
            if kept and size > self._limits.seal // 2:
                break
            kept.append((ids, taken[index]))
        self._table.clear()
        for ids, when in reversed(kept):
            self._table.add(ids, when)
        self._known = self._chunks()

    def _evict(self, shelf: Shelf) -> None:
        """Remove the segment that was quoted least, for longest, for the room it takes."""
        now = time.time()

        def worth(one: Segment) -> float:
            return float((1 + one.used[0]) / (max(now - one.used[1], 0) + 60) / one.bytes)

        shelf.drop((min(shelf.mounted, key=worth).name,))
        self._known = self._chunks()

    def _stretches(self, ids: np.ndarray) -> Iterator[np.ndarray]:
        """A text, cut at what is never proposed."""
        barred = (ids < 0) | (ids >= self._bars[0]) | np.isin(ids, self._bars[1:])
        edges = np.flatnonzero(barred).tolist()
        for first, end in zip([-1, *edges], [*edges, len(ids)], strict=True):
            if end - first > 2:  # one token alone says nothing of what follows
                yield ids[first + 1 : end]

    def _chunks(self) -> set[int]:
        """Hashes of all that is held."""
        return {
            name for one in self.segments for _, ids in texts(one) for name in cut(ids)[1].tolist()
        }
