"""Pictures named by URL, fetched so that nobody can use the server to look behind its walls.

A name is resolved once, all its addresses must be public, and the connection goes to an address
that was checked; every redirect starts over. Whatever goes wrong, the client hears one sentence:
neither whether a host is there, nor what it answered.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import h11

from mmspec.core.errors import BadRequestError, OverloadedError
from mmspec.serve.exchange import Allowance, Got, ask
from mmspec.serve.remote_url import Address, NotAllowedError, RemoteUrl, is_public, parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

    from mmspec.core.config import FetchConfig

log = logging.getLogger(__name__)
_LOOKUPS = 2  # at a time for one request: a name that nobody answers for occupies a thread
_RESOLVERS = 16  # threads, at least; others' names are looked up meanwhile
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Resolve = Callable[[str, int], list[Address]]
Connect = Callable[[RemoteUrl, Address, ssl.SSLContext | None], Awaitable[Streams]]


def resolve(host: str, port: int) -> list[Address]:
    """All addresses of a name. Blocking.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(entry[4][0])) for entry in found]


async def connect(url: RemoteUrl, address: Address, tls: ssl.SSLContext | None) -> Streams:
    """Connect to this very address; the certificate must be the name's.

    Raises:
        OSError: nobody there, or not who they should be.
    """
    name = url.host if tls is not None else None
    return await asyncio.open_connection(str(address), url.port, ssl=tls, server_hostname=name)


@dataclass(frozen=True, slots=True)
class _Budget:
    """What the pictures of one request share.

    Attributes:
        allowance: bytes. lookups: permits to occupy a resolver's thread.
    """

    allowance: Allowance
    lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LOOKUPS))


class Fetcher:
    """Belongs to one event loop.

    Args:
        config: who may be asked, and for how much.
        resolve: name to addresses.
        connect: address to connection.
    """

    def __init__(
        self, config: FetchConfig, resolve: Resolve = resolve, connect: Connect = connect
    ) -> None:
        self._config = config
        self._resolve = resolve
        self._connect = connect
        self._tls = ssl.create_default_context()
        self._threads = ThreadPoolExecutor(
            max(_RESOLVERS, _LOOKUPS * config.requests), thread_name_prefix="mmspec-resolve"
        )
        self._slots = asyncio.Semaphore(config.requests)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def fetch(self, links: Mapping[str, str]) -> AsyncIterator[dict[str, bytes]]:
        """What is behind some URLs; only so many requests hold such bytes at a time.

        The dictionary is emptied at the end, whoever still holds it.

        Args:
            links: URL -> dotted path of the field that names it.

        Raises:
            BadRequestError: ``invalid_image_url`` for the first that cannot be had.
            OverloadedError: others hold what may be held, and do not let go in time.
        """
        targets = {url: self._read(url, param) for url, param in links.items()}
        try:
            async with asyncio.timeout(self._config.seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise OverloadedError("too many pictures are being fetched", 2.0) from error
        got: dict[str, bytes] = {}
        try:
            budget = _Budget(Allowance(self._config.request_bytes))
            got = await _all(
                {url: self._fetch(target, budget, links[url]) for url, target in targets.items()}
            )
            yield got
        finally:
            got.clear()  # a closure may live as long as the answer; the slot counts bytes held
            self._slots.release()

    def _read(self, url: str, param: str) -> RemoteUrl:
        """Check the client's own spelling, of which it may be told."""
        try:
            return parse(url, self._config)
        except NotAllowedError as error:
            log.info("not fetched: %s", error)
            raise BadRequestError(
                "image URLs must be data: URIs, or plain URLs of public hosts that this server "
                "is allowed to ask",
                param,
                "invalid_image_url",
            ) from error

    async def _fetch(self, url: RemoteUrl, budget: _Budget, param: str) -> bytes:
        try:
            async with asyncio.timeout(self._config.seconds):
                return await self._follow(url, budget)
        except (NotAllowedError, OSError, ValueError, h11.ProtocolError) as error:
            # Time-outs and failed handshakes are OSErrors; ValueError: a name no encoding has.
            log.info("not fetched from %s: %s %s", url.host, type(error).__name__, error)
            raise BadRequestError(
                "the image could not be fetched", param, "invalid_image_url"
            ) from None  # not even as a cause

    async def _follow(self, url: RemoteUrl, budget: _Budget) -> bytes:
        for _ in range(self._config.redirects + 1):
            got = await self._get(url, budget)
            if got.location is None:
                return got.body
            url = url.follow(got.location, self._config)
        raise NotAllowedError("too many redirects")

    async def _get(self, url: RemoteUrl, budget: _Budget) -> Got:
        found = await self._look_up(url, budget.lookups)
        if not found or not all(is_public(address) for address in found):
            raise NotAllowedError("an address that is not public")
        reader, writer = await self._reach(url, found)
        try:
            return await ask(url, reader, writer, self._config.max_bytes, budget.allowance)
        finally:
            writer.transport.abort()  # nothing more is said, not even goodbye

    async def _look_up(self, url: RemoteUrl, permits: asyncio.Semaphore) -> list[Address]:
        """All addresses of a URL's name.

        The permit comes back with the thread, which nobody can call off, not with its caller.
        """
        loop = asyncio.get_running_loop()

        def give_back(_: Future[list[Address]]) -> None:
            with suppress(RuntimeError):  # the loop has ended, and the permits with it
                loop.call_soon_threadsafe(permits.release)

        await permits.acquire()
        work = self._threads.submit(self._resolve, url.host, url.port)
        work.add_done_callback(give_back)
        return await asyncio.wrap_future(work)

    async def _reach(self, url: RemoteUrl, addresses: list[Address]) -> Streams:
        """The first of these addresses that answers: not every machine has a way to all.

        One that drops what it is sent takes its share of the time, and leaves one for the body.
        """
        tls = self._tls if url.scheme == "https" else None
        each = dict.fromkeys(addresses)
        share = self._config.seconds / (1 + len(each))
        failure: OSError | None = None
        for address in each:
            try:
                async with asyncio.timeout(share):
                    return await self._connect(url, address, tls)
            except OSError as error:
                failure = error
        raise failure or OSError("no address")


async def _all(work: Mapping[str, Coroutine[Any, Any, bytes]]) -> dict[str, bytes]:
    """All at once; where one fails, none goes on."""
    tasks = [asyncio.ensure_future(one) for one in work.values()]
    try:
        bodies = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        tasks.clear()  # a failure's traceback holds this frame, and so what the others fetched
    return dict(zip(work, bodies, strict=True))
