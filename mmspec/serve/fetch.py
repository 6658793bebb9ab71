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
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
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
_RESOLVERS = 4  # threads; a name server may take its time
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
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="mmspec-resolve")
        self._slots = asyncio.Semaphore(config.requests)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def fetch(self, links: Mapping[str, str]) -> AsyncIterator[dict[str, bytes]]:
        """What is behind some URLs; only so many requests hold such bytes at a time.

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
        try:
            allowance = Allowance(self._config.request_bytes)
            yield await _all(
                {url: self._fetch(target, allowance, links[url]) for url, target in targets.items()}
            )
        finally:
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

    async def _fetch(self, url: RemoteUrl, allowance: Allowance, param: str) -> bytes:
        try:
            async with asyncio.timeout(self._config.seconds):
                return await self._follow(url, allowance)
        except (NotAllowedError, OSError, ValueError, h11.ProtocolError) as error:
            # Time-outs and failed handshakes are OSErrors; ValueError: a name no encoding has.
            log.info("not fetched from %s: %s %s", url.host, type(error).__name__, error)
            raise BadRequestError(
                "the image could not be fetched", param, "invalid_image_url"
            ) from None  # not even as a cause

    async def _follow(self, url: RemoteUrl, allowance: Allowance) -> bytes:
        for _ in range(self._config.redirects + 1):
            got = await self._get(url, allowance)
            if got.location is None:
                return got.body
            url = url.follow(got.location, self._config)
        raise NotAllowedError("too many redirects")

    async def _get(self, url: RemoteUrl, allowance: Allowance) -> Got:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._resolve, url.host, url.port)
        if not found or not all(is_public(address) for address in found):
            raise NotAllowedError("an address that is not public")
        reader, writer = await self._reach(url, found)
        try:
            return await ask(url, reader, writer, self._config.max_bytes, allowance)
        finally:
            writer.transport.abort()  # nothing more is said, not even goodbye

    async def _reach(self, url: RemoteUrl, addresses: list[Address]) -> Streams:
        """The first of these addresses that answers: not every machine has a way to all."""
        tls = self._tls if url.scheme == "https" else None
        failure: OSError | None = None
        for address in dict.fromkeys(addresses):
            try:
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
    return dict(zip(work, bodies, strict=True))
