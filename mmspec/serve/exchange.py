"""One HTTP/1.1 GET over an open connection: no cookies, no credentials, nothing decompressed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11

from mmspec import __version__
from mmspec.serve.remote_url import NotAllowedError

if TYPE_CHECKING:
    import asyncio

    from mmspec.serve.remote_url import RemoteUrl

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_READ = 16 << 10  # bytes at a time, so that the event loop gets its turn
_HEAD = 16 << 10  # bytes of a header section
_SLACK = 64 << 10  # bytes of framing that any body may have


@dataclass(frozen=True, slots=True)
class Got:
    """What a server said: a body, or where to look instead."""

    body: bytes
    location: str | None = None


class Allowance:
    """Bytes that may still be received.

    Args:
        bytes: for all pictures of a request together.
    """

    def __init__(self, bytes: int) -> None:
        self._left = bytes

    def spend(self, count: int) -> None:
        """Count bytes of a body.

        Raises:
            NotAllowedError: too many.
        """
        self._left -= count
        if self._left < 0:
            raise NotAllowedError("more bytes than a request may fetch")


async def ask(
    url: RemoteUrl,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    max_bytes: int,
    allowance: Allowance,
) -> Got:
    """Send the request, read the answer.

    Args:
        url: what to ask for.
        reader: from the server. writer: to it.
        max_bytes: of the body. allowance: of all bodies together.

    Raises:
        NotAllowedError: any status but 200 or a redirect, an encoded body, too many bytes.
        h11.RemoteProtocolError: not HTTP. OSError: the connection's.
    """
    wire = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=_HEAD)
    headers = [
        ("Host", url.authority),
        ("User-Agent", f"mmspec/{__version__}"),
        ("Accept", "image/png, image/jpeg, image/webp, image/gif"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]
    request = h11.Request(method="GET", target=url.target, headers=headers)
    writer.write((wire.send(request) or b"") + (wire.send(h11.EndOfMessage()) or b""))
    await writer.drain()
    body = bytearray()
    received = 0
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(_READ)
            received += len(data)
            # Framing that outweighs what it frames costs only us.
            if received > 2 * len(body) + _SLACK:
                raise NotAllowedError("more framing than body")
            wire.receive_data(data)
        elif isinstance(event, h11.Response):
            location = _check(event)
            if location is not None:
                return Got(b"", location)
        elif isinstance(event, h11.Data):
            allowance.spend(len(event.data))
            body += event.data
            if len(body) > max_bytes:
                raise NotAllowedError("more bytes than a picture may have")
        elif isinstance(event, h11.EndOfMessage):
            return Got(bytes(body))
        elif not isinstance(event, h11.InformationalResponse):
            raise NotAllowedError("the connection ended too early")


def _check(answer: h11.Response) -> str | None:
    """Where a redirect leads; None: the body that follows is what was asked for.

    Raises:
        NotAllowedError: it is neither.
    """
    headers = {name: value.decode("latin-1") for name, value in answer.headers}
    if answer.status_code in _REDIRECTS:
        return headers.get(b"location", "")
    if answer.status_code != 200:
        raise NotAllowedError(f"status {answer.status_code}")
    if headers.get(b"content-encoding", "identity").lower() != "identity":
        raise NotAllowedError("an encoded body")
    return None
