"""Between the event loop and the engine: one thread steps the engine, callers await their news.

The engine never waits for a reader. News is handed over once a step, whatever the number of
requests, and lies in the ticket until its reader takes all of it at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from mmspec.core.errors import EngineFaultError, OverloadedError
from mmspec.serve.ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.core.request import Delta, FinishReason, Request

log = logging.getLogger(__name__)
MAX_FAULTS = 3  # failed steps without a token between them, and the engine counts as dead
JOIN_SECONDS = 10.0  # a step that takes longer is left behind


class SteppedEngine(Protocol):
    """What the bridge drives; every method is called from the bridge's thread alone."""

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        ...

    def submit(self, request: Request) -> None:
        """Take a request, or raise BadRequestError or OverloadedError."""
        ...

    def step(self) -> list[Delta]:
        """One step; the news it made."""
        ...

    def cancel(
        self, request_id: str, choice: int | None = None, reason: FinishReason = "cancelled"
    ) -> None:
        """Free what a request, or one choice of it, holds; unknown ids are fine."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


class Bridge:
    """Runs one engine in one thread for one event loop.

    Args:
        engine: driven by this object alone from now on.
        stall_seconds: a reader that takes no news for so long has its call cancelled.
        call_seconds: a call that takes longer has failed.
    """

    def __init__(
        self, engine: SteppedEngine, stall_seconds: float = 30.0, call_seconds: float = 600.0
    ) -> None:
        self._engine = engine
        self._stall_seconds = stall_seconds
        self._call_seconds = call_seconds
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._tickets: dict[str, Ticket] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="mmspec-engine", daemon=True)
        self._watch: asyncio.Task[None] | None = None
        self._live: set[str] = set()  # what the engine may hold; the engine's thread alone
        self._faults = 0
        self._beat = time.monotonic()
        self.draining = False
        self.dead = False

    @property
    def open_calls(self) -> int:
        """Requests whose readers still wait."""
        return len(self._tickets)

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the engine's thread last finished something; 0 while it idles."""
        return time.monotonic() - self._beat if self._engine.busy else 0.0

    @property
    def alive(self) -> bool:
        """Whether the engine can still serve."""
        return self._thread.is_alive() and not self.dead

    def start(self) -> None:
        """Start stepping, reporting to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._watch = self._loop.create_task(self._watch_tickets())
        self._thread.start()

    async def submit(self, requests: list[Request]) -> Ticket:
        """Hand requests to the engine, all or none of them.

        Raises:
            BadRequestError: the engine refuses one.
            OverloadedError: the queue is full, or the server is shutting down.
            EngineFaultError: the engine is dead or failed on it, or an id is in use.
        """
        if self.draining:
            raise OverloadedError("the server is shutting down", retry_after=5.0)
        if not self.alive:
            raise EngineFaultError("the engine is not running")
        deadline = time.monotonic() + self._call_seconds
        ids = frozenset(request.id for request in requests)
        if len(ids) < len(requests) or not ids.isdisjoint(self._tickets):
            # One caller's news would reach another. Ids are ours to draw, so the fault is ours.
            raise EngineFaultError("a request id is in use")
        ticket = Ticket(ids, deadline, halt=self._halt, end=self._end)
        self._tickets |= dict.fromkeys(ticket.ids, ticket)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox.put(partial(self._admit, requests, answer))
        try:
            await answer
        except BaseException:
            ticket.cancel()
            raise
        return ticket

    async def drain(self, seconds: float) -> None:
        """Refuse new calls; wait up to ``seconds`` for the open ones, then fail the rest."""
        self.draining = True
        deadline = time.monotonic() + seconds
        while self._tickets and time.monotonic() < deadline and self.alive:
            await asyncio.sleep(0.05)
        self._fail_all(EngineFaultError("the server is shutting down"))

    async def close(self) -> None:
        """Stop the thread and close the engine; open calls fail."""
        await self.drain(0.0)
        if self._watch is not None:
            self._watch.cancel()
        if self._thread.is_alive():
            self._inbox.put(None)
            await asyncio.to_thread(self._thread.join, JOIN_SECONDS)

    # -- the event loop's side ---------------------------------------------------------------

    def _halt(self, id: str, choice: int) -> None:
        self._inbox.put(partial(self._cancel, id, choice, "stop"))

    def _end(self, ticket: Ticket) -> None:
        for id in ticket.ids:
            if self._tickets.pop(id, None) is not None:
                self._inbox.put(partial(self._cancel, id))

    def _deliver(self, news: list[Delta]) -> None:
        sorted_news: dict[Ticket, list[Delta]] = {}
        for delta in news:
            if (ticket := self._tickets.get(delta.request_id)) is not None:
                sorted_news.setdefault(ticket, []).append(delta)
        for ticket, deltas in sorted_news.items():
            ticket.tell(deltas)

    def _fail_all(self, failure: Exception) -> None:
        for ticket in set(self._tickets.values()):
            ticket.fail(failure)
            self._end(ticket)

    async def _watch_tickets(self) -> None:
        """Once a second, end calls that take too long or that nobody reads any more."""
        while True:
            await asyncio.sleep(min(1.0, self._stall_seconds / 4))
            now = time.monotonic()
            for ticket in set(self._tickets.values()):
                unread = ticket.unread_since
                if unread is not None and now - unread > self._stall_seconds:
                    ticket.abandon()
                elif now > ticket.deadline:
                    ticket.fail(EngineFaultError("the request took too long"))
                    self._end(ticket)

    # -- the engine's thread -----------------------------------------------------------------

    def _run(self) -> None:
        while self._drain_inbox():
            self._beat = time.monotonic()
            if self._engine.busy and not self.dead:
                try:
                    news = self._engine.step()
                except Exception as error:  # noqa: BLE001 - the thread must outlive its engine
                    self._fault(error)
                    continue
                if any(delta.tokens for delta in news):
                    self._faults = 0
                if news:
                    self._post(self._deliver, news)
        self._engine.close()

    def _drain_inbox(self) -> bool:
        """Do what was asked meanwhile; wait for something when idle. False: stop."""
        try:
            order = self._inbox.get(block=self.dead or not self._engine.busy)
            while order is not None:
                order()
                order = self._inbox.get_nowait()
        except Empty:
            return True
        return False

    def _admit(self, requests: list[Request], answer: asyncio.Future[None]) -> None:
        failure: Exception | None = None
        for request in requests:
            try:
                self._engine.submit(request)
            except Exception as error:  # noqa: BLE001 - it is handed to the caller
                failure = error
                break
            self._live.add(request.id)
        self._post(_resolve, answer, failure)

    def _cancel(
        self, id: str, choice: int | None = None, reason: FinishReason = "cancelled"
    ) -> None:
        if choice is None:
            self._live.discard(id)
        try:
            self._engine.cancel(id, choice, reason)
        except Exception as error:  # noqa: BLE001 - the thread must outlive its engine
            self._fault(error)

    def _fault(self, error: Exception) -> None:
        """Nobody can say whose fault it was: every open call ends, and the engine is emptied."""
        log.error("the engine failed", exc_info=error)
        self._faults += 1
        self.dead = self._faults >= MAX_FAULTS
        live, self._live = self._live, set()
        for id in live:
            self._cancel(id)
        self._post(self._fail_all, EngineFaultError("the engine failed"))

    def _post(self, call: Callable[..., None], *values: Any) -> None:
        """Run ``call`` on the event loop, unless that has ended."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *values)


def _resolve(answer: asyncio.Future[None], failure: Exception | None) -> None:
    if answer.done():
        return
    if failure is None:
        answer.set_result(None)
    else:
        answer.set_exception(failure)
