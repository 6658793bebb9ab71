"""Pictures that a conversation names: by file id, among the caller's own, or by URL."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmspec.core.errors import BadRequestError
from mmspec.serve.errors import no_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from mmspec.serve.file_store import FileStore
    from mmspec.serve.service import Service


@dataclass(frozen=True, slots=True)
class Pictures:
    """What one caller may name (fulfils ``mmspec.vision.prompt.PictureSource``).

    Attributes:
        store: uploaded files; None: there are none.
        owner: whose files are looked among.
        max_bytes: of a picture; a longer file is not read.
        fetched: by URL.
    """

    store: FileStore | None
    owner: str
    max_bytes: int
    fetched: Mapping[str, bytes] = field(default_factory=dict)

    def stored(self, id: str, param: str) -> bytes:
        """A file's bytes. Blocking.

        Raises:
            HttpError: 404, there is none, or it is somebody else's.
            BadRequestError: too large for a picture.
        """
        if self.store is None:
            raise no_file(id, param)
        row, source = self.store.open(self.owner, id, param)
        with source:
            if row.bytes > self.max_bytes:
                raise BadRequestError(
                    f"an image may have up to {self.max_bytes} bytes", param, "image_too_large"
                )
            return source.read()

    def remote(self, url: str) -> bytes | None:
        """What was fetched from a URL, if anything."""
        return self.fetched.get(url)


@asynccontextmanager
async def pictures(
    service: Service, owner: str, links: Mapping[str, str] | None = None
) -> AsyncIterator[Pictures]:
    """The pictures of one call, for as long as they are needed.

    Args:
        service: has files and perhaps a fetcher.
        owner: whose call it is.
        links: URL -> field; they are fetched, if anything ever is.

    Raises:
        BadRequestError: one could not be fetched.
    """
    store = service.files.store if service.files is not None else None
    named = Pictures(store, owner, service.media.max_bytes)
    if not links or service.fetcher is None:
        yield named
        return
    async with service.fetcher.fetch(links) as fetched:
        yield Pictures(store, owner, service.media.max_bytes, fetched)
