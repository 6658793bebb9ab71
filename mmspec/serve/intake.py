"""Uploads on their way in: from the wire to the disk, a megabyte in memory at a time."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from mmspec.serve.errors import HttpError, overloaded
from mmspec.serve.file_store import over_quota
from mmspec.serve.form import OVERHEAD, UploadForm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from mmspec.core.config import FilesConfig
    from mmspec.serve.blobs import Draft
    from mmspec.serve.file_desk import FileDesk
    from mmspec.serve.form import UploadFields

T = TypeVar("T")
log = logging.getLogger(__name__)
_BLOCK = 1 << 20  # bytes gathered before they are worth a thread's time
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Upload:
    """Bytes that have arrived whole, and are not a file yet."""

    def __init__(self, desk: FileDesk, draft: Draft, fields: UploadFields) -> None:
        self.draft = draft
        self.fields = fields
        self._desk = desk

    def discard(self) -> None:
        """Forget the bytes, unless they have become a file. Does not block."""
        self._desk.later(self.draft.discard)


class Intake:
    """Belongs to the event loop; the disk is touched by the desk's threads.

    Args:
        desk: where files go. config: limits.

    Attributes:
        max_body: bytes a body may have.
        seconds: a body must arrive within this.
    """

    def __init__(self, desk: FileDesk, config: FilesConfig) -> None:
        self.max_body = config.max_file_bytes + OVERHEAD
        self.seconds = config.upload_seconds
        self._desk = desk
        self._config = config
        self._open = 0
        self._coming: Counter[str] = Counter()  # bytes by owner, of uploads that have not ended

    async def take(
        self, owner: str, headers: Mapping[bytes, str], body: AsyncIterator[bytes]
    ) -> Upload:
        """Receive one body.

        Raises:
            BadRequestError: it is not the form it should be.
            HttpError: too large, over quota, too many at once, or the disk's fault.
        """
        if headers.get(b"content-encoding", "identity").lower() != "identity":
            raise HttpError(415, "an upload is sent as it is, not compressed")
        form = UploadForm(headers.get(b"content-type", ""), self._config.max_file_bytes)
        if self._open >= self._config.uploads:
            raise overloaded("too many uploads at once", 1.0)
        self._open += 1
        draft = self._desk.store.draft()
        upload: Upload | None = None
        try:
            await self._receive(owner, draft, form, body)
            upload = Upload(self._desk, draft, form.finish())
        finally:
            self._open -= 1
            if upload is None:
                self._desk.later(draft.discard)
        return upload

    async def _receive(
        self, owner: str, draft: Draft, form: UploadForm, body: AsyncIterator[bytes]
    ) -> None:
        """All bytes of the file into the draft, as long as the owner has room for them."""
        room = await at_the_disk(self._desk, lambda: self._desk.store.room(owner))
        held: list[bytes] = []
        size = counted = 0
        try:
            async for data in body:
                for piece in form.feed(data):
                    held.append(piece)
                    size += len(piece)
                    counted += len(piece)
                    self._coming[owner] += len(piece)
                if self._coming[owner] > room:
                    raise over_quota(self._config)
                if size >= _BLOCK:
                    await self._write(draft, held)
                    held, size = [], 0
            await self._write(draft, held)
        finally:
            self._coming[owner] -= counted
            self._coming += Counter()  # drops owners at zero

    async def _write(self, draft: Draft, pieces: list[bytes]) -> None:
        await at_the_disk(self._desk, lambda: draft.write(b"".join(pieces)))


async def at_the_disk(desk: FileDesk, work: Callable[[], T]) -> T:
    """Do blocking work that stores something.

    Raises:
        HttpError: the disk is full (507) or failing (500); the client learns no more than that.
    """
    try:
        return await desk.run(work)
    except (OSError, sqlite3.Error) as error:
        log.error("a file could not be stored", exc_info=error)
        status, message = 500, "the file could not be stored"
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        if full or (isinstance(error, OSError) and error.errno in _FULL):
            status, message = 507, "the server has no room for this file"
        raise HttpError(
            status, message, "storage_fault", headers={"x-should-retry": "false"}
        ) from error
