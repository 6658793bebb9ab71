"""One HTTP request while it is with us, and what must be let go when it ends."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from mmspec.serve.ticket import ClientGoneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.serve.answer import Answer
    from mmspec.serve.intake import Upload
    from mmspec.serve.ticket import Ticket


class Load:
    """What all visits together hold.

    Attributes:
        calls: POST requests inside.
        bytes: of bodies that nobody has read yet.
    """

    __slots__ = ("bytes", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self.bytes = 0


class Visit:
    """However a request ends - answer, refusal, fault, disconnect - ``close`` frees what it held.

    Args:
        asked: the id the client would like to read in headers; "": any.
        load: where this visit is counted.

    Attributes:
        key: ours, unlike any other visit's; what the engine does for it is named after it.
        id: the request id of logs and headers, which the client may choose: nothing hangs on it.
        started: ``time.monotonic`` at arrival.
        left: set once the client is gone, or has its whole answer.
        status: of the answer; 0 until it starts.
        complete: whether the answer was sent to its end.
        answer: what was generated, if anything.
        owner: whose files this visit may know: a digest of its API key; "": no key was asked for.
        upload: the body, where it went to the disk.
    """

    def __init__(self, asked: str, load: Load) -> None:
        self.key = secrets.token_hex(12)
        self.id = asked or self.key
        self.started = time.monotonic()
        self.left = asyncio.Event()
        self.status = 0
        self.complete = False
        self.answer: Answer | None = None
        self.owner = ""
        self.upload: Upload | None = None
        self._releases: list[Callable[[], None]] = []
        self._tickets: list[Ticket] = []
        self._load = load
        self._body: list[bytes] = []
        self._size = 0

    @property
    def milliseconds(self) -> int:
        """Since arrival."""
        return int((time.monotonic() - self.started) * 1000)

    def keep(self, part: bytes) -> int:
        """Add to the body; returns its size so far."""
        self._body.append(part)
        self._size += len(part)
        self._load.bytes += len(part)
        return self._size

    def mentions(self, word: bytes) -> bool:
        """Whether these bytes stand in the body."""
        tail = b""
        for part in self._body:
            if word in tail + part[: len(word)] or word in part:
                return True
            tail = (tail + part)[1 - len(word) :]
        return False

    def body(self) -> bytes:
        """A copy of the body, which the visit keeps."""
        return b"".join(self._body)

    def take_body(self) -> bytes:
        """The body, which the visit then forgets: it may be large and the answer long."""
        body = b"".join(self._body)
        self._body.clear()
        self._load.bytes -= self._size
        self._size = 0
        return body

    def adopt(self, ticket: Ticket) -> None:
        """Free this ticket when the visit ends.

        Raises:
            ClientGoneError: it has ended already.
        """
        self._tickets.append(ticket)
        if self.left.is_set():
            ticket.abandon()
            raise ClientGoneError("the client is gone")

    def release(self, let_go: Callable[[], None]) -> None:
        """Call this when the visit ends; it must not block."""
        self._releases.append(let_go)

    def leave(self) -> None:
        """The client hung up, or has all it wanted."""
        self.left.set()
        for ticket in self._tickets:
            ticket.abandon()

    def close(self) -> None:
        """Nothing more will be sent."""
        self.take_body()
        for ticket in self._tickets:
            ticket.cancel()
        for let_go in self._releases:
            let_go()
