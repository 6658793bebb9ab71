"""The news of one call, between the bridge that tells it and the one reader that takes it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.core.request import Delta


class ClientGoneError(Exception):
    """Nobody reads this call any more; there is nothing left to tell."""


class Ticket:
    """The news of one call (one request, or one a prompt of a batch), for one reader.

    Belongs to the event loop; nothing here may be touched from another thread.

    Attributes:
        ids: requests whose news comes here.
        unread_since: when the oldest unread news arrived (``time.monotonic``), or None.
        deadline: when the call has taken too long (``time.monotonic``).
    """

    def __init__(
        self,
        ids: frozenset[str],
        deadline: float,
        *,
        halt: Callable[[str, int], None],
        end: Callable[[Ticket], None],
    ) -> None:
        self.ids = ids
        self.deadline = deadline
        self.unread_since: float | None = None
        self._halt = halt
        self._end = end
        self._news: deque[Delta] = deque()
        self._ready = asyncio.Event()
        self._failure: Exception | None = None

    async def take(self) -> list[Delta]:
        """All news since the last call; waits for some.

        Raises:
            EngineFaultError: the call cannot be finished; what was told before is still true.
        """
        await self._ready.wait()
        if not self._news and self._failure is not None:
            raise self._failure
        news = list(self._news)
        self._news.clear()
        self.unread_since = None
        if self._failure is None:
            self._ready.clear()
        return news

    def peek(self) -> list[Delta]:
        """News that nobody has taken yet.

        Raises:
            EngineFaultError: there is none and none will come.
        """
        if not self._news and self._failure is not None:
            raise self._failure
        return list(self._news)

    async def wait(self, seconds: float) -> bool:
        """Whether news, or the failure, is there within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            return False
        return True

    def stop(self, request_id: str, choice: int) -> None:
        """Say no more on one choice; its last word, a report, still comes."""
        self._halt(request_id, choice)

    def cancel(self) -> None:
        """The reader has what it wants: free everything. Idempotent."""
        self._end(self)

    def abandon(self) -> None:
        """The client is gone: free everything and wake the reader with the news of it."""
        self.fail(ClientGoneError("the client is gone"))
        self._end(self)

    def tell(self, news: list[Delta]) -> None:
        """Add news (bridge only)."""
        self._news.extend(news)
        self.unread_since = self.unread_since or time.monotonic()
        self._ready.set()

    def fail(self, failure: Exception) -> None:
        """No more news will come (bridge only)."""
        self._failure = self._failure or failure
        self._ready.set()
