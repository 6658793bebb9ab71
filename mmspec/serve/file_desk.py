"""A file store as the event loop sees it: threads for its work, and a broom."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from mmspec.serve.file_store import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.core.config import StoreConfig

T = TypeVar("T")
log = logging.getLogger(__name__)
_THREADS = 4


class FileDesk:
    """One a store.

    Args:
        config: the store's.
        store: made from the configuration unless given.

    Attributes:
        store: blocks; ask it through ``run``.
    """

    def __init__(self, config: StoreConfig, store: FileStore | None = None) -> None:
        self.store = store or FileStore(config)
        self._sweep_seconds = config.sweep_seconds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mmspec-files")
        self._broom: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Before the first request.

        Raises:
            ConfigError: the folder cannot be used.
        """
        await self.run(self.store.start)
        self._broom = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """After the last request. Idempotent."""
        if self._broom is not None:
            self._broom.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._broom
            self._broom = None
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self.store.close)

    async def run(self, work: Callable[[], T]) -> T:
        """Do blocking work off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def later(self, work: Callable[[], None]) -> None:
        """Do blocking work some time soon; nobody waits for it."""
        try:
            self._threads.submit(work)
        except RuntimeError:  # closed already
            work()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_seconds)
            try:
                await self.run(self.store.sweep)
            except Exception:  # a full disk today; tomorrow's round may do better
                log.exception("expired files could not be removed")
