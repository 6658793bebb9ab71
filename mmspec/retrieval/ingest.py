"""Taking in texts that ended well, in a thread of its own, each into its tenant's memory.

A text is there to be quoted some milliseconds after its request ended; the engine waits for
nothing. What dies with the process is what is in memory: a segment on the disk is whole or not
there. Where texts come faster than they are taken in, the latest are left out.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from mmspec.core.errors import CorpusError
from mmspec.retrieval.memory import Limits, Memory
from mmspec.retrieval.segment import Identity, owner_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

_log = logging.getLogger(__name__)
WAITING = 256  # texts that may wait


class Text(NamedTuple):
    """A text that ended: whose, its ids (int64 [K]), and when, in seconds."""

    tenant: str
    ids: np.ndarray
    taken: int


class Memories:
    """The memories of all tenants that have one.

    Args:
        identity: the tokenizer.
        bars: int64 [1 + M], the size of the vocabulary, and ids at which a text is cut.
        limits: of each memory.
        store: folder of the tenants' folders; None: in memory alone.
        most: memories held at a time; the one that was not touched for longest goes (with a
            store: to the disk).
    """

    def __init__(
        self, identity: Identity, bars: np.ndarray, limits: Limits, store: Path | None, most: int
    ) -> None:
        self._identity, self._bars, self._limits = identity, bars, limits
        self._store, self._most = store, most
        self._held: OrderedDict[str, Memory] = OrderedDict()
        self._alone = threading.Lock()

    def get(self, tenant: str) -> Memory | None:
        """A tenant's memory, if it is held."""
        return self._held.get(tenant)

    def open(self, tenant: str) -> Memory:
        """A tenant's memory, with what its folder holds.

        Raises:
            CorpusError: the folder cannot be made or read.
        """
        with self._alone:
            memory = self._held.get(tenant)
            if memory is None:
                owner = owner_of(tenant)
                folder = None if self._store is None else self._store / owner
                memory = Memory(self._identity, self._bars, self._limits, folder, owner)
                self._held[tenant] = memory
            self._held.move_to_end(tenant)
            return memory

    def take(self, text: Text) -> None:
        """One text, now.

        Raises:
            CorpusError: a folder or segment cannot be read or written.
        """
        self.open(text.tenant).add(text.ids, text.taken)
        while len(self._held) > self._most:
            with self._alone:
                _, oldest = self._held.popitem(last=False)
            oldest.seal()

    def clear(self) -> None:
        """Forget every text that is not on the disk."""
        for memory in list(self._held.values()):
            memory.clear()

    def seal(self) -> None:
        """Leave everything on the disk, as far as that can be done."""
        for memory in list(self._held.values()):
            try:
                memory.seal()
            except CorpusError as error:
                _log.warning("a tenant's latest texts are lost: %s", error)


class Ingest:
    """Takes texts in, one after another; ends, with the drafter or the process, when all are in."""

    def __init__(self, memories: Memories) -> None:
        self.memories = memories
        self.dropped = 0
        self._texts: queue.Queue[Text | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None

    def put(self, tenant: str, ids: np.ndarray) -> None:
        """Take in a text, int64 [K], soon."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=_work, args=(self._texts, self.memories), daemon=True
            )
            self._thread.start()
            weakref.finalize(self, _end, self._texts, self._thread, self.memories)
        try:
            self._texts.put_nowait(Text(tenant, ids.copy(), int(time.time())))
        except queue.Full:
            self.dropped += 1
            _log.warning("texts end faster than they are remembered: one is left out")

    def settle(self) -> None:
        """Wait until every text that was put is there."""
        self._texts.join()


def _work(texts: queue.Queue[Text | None], memories: Memories) -> None:
    """Take in texts until told to stop."""
    while (text := texts.get()) is not None:
        try:
            memories.take(text)
        except Exception:  # noqa: BLE001  # the next text is another
            _log.exception("a finished text was not remembered")
        finally:
            texts.task_done()


def _end(texts: queue.Queue[Text | None], thread: threading.Thread, memories: Memories) -> None:
    texts.put(None)
    thread.join()
    memories.seal()
