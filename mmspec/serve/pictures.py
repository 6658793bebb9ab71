"""What a conversation names: by file id, among the caller's own, by URL, or encoded."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mmspec.core.errors import BadRequestError
from mmspec.serve.attached import attached
from mmspec.serve.errors import no_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from mmspec.serve.file_store import FileStore
    from mmspec.serve.read import Named
    from mmspec.serve.service import Service


@dataclass(frozen=True, slots=True)
class Pictures:
    """What one caller may name (fulfils ``mmspec.vision.prompt.PictureSource``).

    Attributes:
        store: uploaded files; None: there are none.
        owner: whose files are looked among.
        max_bytes: of a picture; a longer file is not read.
        fetched: by URL.
        texts: of documents, by the dotted path of the part that holds or names them.
    """

    store: FileStore | None
    owner: str
    max_bytes: int
    fetched: Mapping[str, bytes] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

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

    def document(self, path: str) -> str | None:
        """The text of the document that a file part holds or names."""
        return self.texts.get(path)


@asynccontextmanager
async def pictures(
    service: Service, owner: str, named: Named | None = None
) -> AsyncIterator[Pictures]:
    """What one call names, for as long as it is needed.

    Args:
        service: has files, documents and perhaps a fetcher.
        owner: whose call it is.
        named: links are fetched, if anything ever is, and documents are read.

    Raises:
        BadRequestError, HttpError: something could not be fetched or read, or is not there.
    """
    store = service.files.store if service.files is not None else None
    texts = await attached(service, owner, named.files) if named is not None else {}
    held = Pictures(store, owner, service.media.max_bytes, {}, texts)
    if named is None or not named.links or service.fetcher is None:
        yield held
        return
    async with service.fetcher.fetch(named.links) as fetched:
        yield replace(held, fetched=fetched)
