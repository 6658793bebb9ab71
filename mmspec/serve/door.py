"""The outermost layer: who may enter, how much they may carry, and who has left.

A plain ASGI wrapper, so that nothing - not even an unknown path - is answered without it.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from contextlib import aclosing
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from mmspec.core.errors import BadRequestError
from mmspec.serve.errors import HttpError, from_exception, overloaded, too_large, unauthorized
from mmspec.serve.visit import Load, Visit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping

    from mmspec.serve.intake import Intake
    from mmspec.serve.metrics import Metrics

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Any, Any, Any], Awaitable[None]]

log = logging.getLogger(__name__)
VISIT = "mmspec.visit"  # where the app finds the visit in its scope
OPEN_PATHS = frozenset({"/health", "/live", "/ready"})  # all else needs a key where keys are set
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_LINGER_SECONDS = 2.0
_LINGER_SILENCE = 0.25
_BODIES = 8  # bodies of full size that may wait in memory together


class Door:
    """Wraps an ASGI application.

    Args:
        app: what is behind the door.
        metrics: told of every visit.
        api_keys: bearer keys; empty: everybody may enter.
        max_body_bytes: longer bodies get a 413, declared or not, and are not read to the end.
        max_calls: POST requests inside at a time; more get a 503.
        body_seconds: a body must arrive within this.
        stall_seconds: a client that takes nothing for so long is gone.
        intakes: by path, who receives the bodies of POST requests that are not for memory.
    """

    def __init__(
        self,
        app: App,
        metrics: Metrics,
        *,
        api_keys: tuple[str, ...] = (),
        max_body_bytes: int = 64 << 20,
        max_calls: int = 512,
        body_seconds: float = 60.0,
        stall_seconds: float = 30.0,
        intakes: Mapping[str, Intake] | None = None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._keys = [sha256(key.encode()).digest() for key in api_keys]
        self._max_body = max_body_bytes
        self._max_calls = max_calls
        self._body_seconds = body_seconds
        self._stall_seconds = stall_seconds
        self._intakes = dict(intakes or {})
        self._load = Load()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event loop call (ASGI)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._visit(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _visit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        asked = headers.get(b"x-request-id", "")
        visit = Visit(asked if _SAFE_ID.match(asked) else "", self._load)
        scope[VISIT] = visit
        write = self._writer(visit, send)
        self._load.calls += scope["method"] == "POST"
        path = scope["path"].rstrip("/")
        intake = self._intakes.get(path) if scope["method"] == "POST" else None
        intake = intake if intake is not None and intake.wants(headers) else None
        try:
            visit.owner = self._check(scope, headers, intake.max_body if intake else self._max_body)
            if intake is None:
                await self._read(receive, visit)
            else:
                await self._take_in(intake, receive, visit, headers)
            await self._inner(scope, receive, write, visit)
        except (HttpError, BadRequestError) as refusal:
            await _refuse(from_exception(refusal), receive, write)
        except _GoneBeforeBodyError:
            visit.leave()
        finally:
            visit.close()
            self._load.calls -= scope["method"] == "POST"
            self._metrics.visited(visit, scope["path"])
            log.info(
                "%s %s %s %.100r %d %d ms",
                visit.id, visit.key, scope["method"], scope["path"],
                visit.status if visit.complete else 499, visit.milliseconds,
            )  # fmt: skip

    def _check(self, scope: Scope, headers: dict[bytes, str], max_body: int) -> str:
        """Refuse before a byte of the body is read; returns the owner of what is asked for."""
        owner = ""
        if self._keys and scope["path"] not in OPEN_PATHS:
            scheme, _, key = headers.get(b"authorization", "").partition(" ")
            digest = sha256(key.strip().encode()).digest()
            # Every key is compared, so that time tells nothing about which came close.
            matches = [hmac.compare_digest(digest, known) for known in self._keys]
            if scheme.lower() != "bearer" or not any(matches):
                raise unauthorized()
            owner = digest.hex()
        declared = headers.get(b"content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > max_body:
            raise too_large(max_body)
        if self._load.calls > self._max_calls:
            raise overloaded("too many requests at once", 1.0)
        return owner

    async def _read(self, receive: Receive, visit: Visit) -> None:
        """The whole body, counted as it comes."""
        try:
            async with asyncio.timeout(self._body_seconds), aclosing(_parts(receive)) as parts:
                async for part in parts:
                    if visit.keep(part) > self._max_body:
                        raise too_large(self._max_body)
                    if self._load.bytes > _BODIES * self._max_body:
                        raise overloaded("too much is being sent at once", 1.0)
        except TimeoutError as error:
            raise _too_slow() from error

    async def _take_in(
        self, intake: Intake, receive: Receive, visit: Visit, headers: dict[bytes, str]
    ) -> None:
        """The whole body, to the disk; what has not become a file when the visit ends is gone."""
        try:
            async with asyncio.timeout(intake.seconds):
                async with aclosing(_parts(receive, self._body_seconds)) as parts:
                    visit.upload = await intake.take(visit.owner, headers, parts)
                    visit.release(visit.upload.discard)  # at once: a time-out may follow
        except TimeoutError as error:
            raise _too_slow() from error

    async def _inner(self, scope: Scope, receive: Receive, send: Send, visit: Visit) -> None:
        """Run the application; it hears of a disconnect, and its tickets are freed at once.

        The body waits in the visit; the application's own is empty.
        """
        unread = [{"type": "http.request", "body": b"", "more_body": False}]

        async def replay() -> Message:
            if unread:
                return unread.pop()
            await visit.left.wait()
            return {"type": "http.disconnect"}

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            visit.leave()

        watcher = asyncio.create_task(watch())
        try:
            await self._app(scope, replay, send)
        finally:
            watcher.cancel()

    def _writer(self, visit: Visit, send: Send) -> Send:
        """``send`` that names the visit in the headers and gives up on readers that stall."""

        async def write(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                extra = [
                    (b"x-request-id", visit.id.encode()),
                    (b"openai-processing-ms", b"%d" % visit.milliseconds),
                ]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            try:
                async with asyncio.timeout(self._stall_seconds):
                    await send(message)
            except TimeoutError:
                visit.leave()
                return
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                visit.complete = not visit.left.is_set()

        return write


class _GoneBeforeBodyError(Exception):
    """The client hung up while sending."""


async def _parts(receive: Receive, silence: float | None = None) -> AsyncGenerator[bytes, None]:
    """The parts of a body, each within ``silence`` seconds.

    Raises:
        _GoneBeforeBodyError: the client left. TimeoutError: it fell silent.
    """
    more = True
    while more:
        async with asyncio.timeout(silence):
            message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneBeforeBodyError
        more = message.get("more_body", False)
        yield message.get("body", b"")


def _too_slow() -> HttpError:
    return HttpError(408, "the body took too long")


async def _refuse(refusal: HttpError, receive: Receive, send: Send) -> None:
    """Send a refusal, drop what still arrives for a moment, and close.

    Closing on a client that is still sending resets the connection, and the reset may overtake
    the answer.
    """
    body = refusal.body.encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",  # the body was not read to its end
        **refusal.headers,
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await _linger(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _linger(receive: Receive) -> None:
    """Drop what still arrives, until it ends, pauses, or has gone on for too long."""
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            more = True
            while more:
                async with asyncio.timeout(_LINGER_SILENCE):
                    more = (await receive()).get("more_body", False)
    except TimeoutError:
        return
