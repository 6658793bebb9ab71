"""Uploads on their way in: from the wire to the disk, a megabyte in memory at a time."""

from __future__ import annotations

import errno
import logging
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from mmspec.serve.claims import Claims
from mmspec.serve.errors import HttpError
from mmspec.serve.form import OVERHEAD, UploadForm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from mmspec.core.config import StoreConfig
    from mmspec.serve.blobs import Draft
    from mmspec.serve.claims import Claim
    from mmspec.serve.file_desk import FileDesk
    from mmspec.serve.file_index import FileRow
    from mmspec.serve.form import UploadFields

T = TypeVar("T")
log = logging.getLogger(__name__)
_BLOCK = 1 << 20  # bytes gathered before they are worth a thread's time
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Upload:
    """Bytes that have arrived whole, and are not a file yet.

    Args:
        desk: where they lie. draft: the bytes. fields: what came beside them.
        release: called, from any thread, once they are a file or gone.
    """

    def __init__(
        self, desk: FileDesk, draft: Draft, fields: UploadFields, release: Callable[[], None]
    ) -> None:
        self.draft = draft
        self.fields = fields
        self._desk = desk
        self._release = release

    def keep(self, owner: str) -> FileRow:
        """Make a file of them. Blocking.

        Raises:
            HttpError, OSError, sqlite3.Error: as ``FileStore.keep``; they are still here.
        """
        row = self._desk.store.keep(self.draft, self.fields, owner)
        self._release()
        return row

    def discard(self) -> None:
        """Forget the bytes, unless they have become a file. Does not block."""
        self._desk.later(partial(_forget, self.draft, self._release))


class Intake:
    """Belongs to the event loop; the disk is touched by the desk's threads.

    Args:
        desk: where files go. config: limits.
        max_picture: bytes a file may have that says it is a picture.
        purpose: of all that comes this way; None: each upload says its own.
        forms_only: leave bodies that are no multipart form to be read in memory.

    Attributes:
        max_body: bytes a body may have.
        seconds: a body must arrive within this.
    """

    def __init__(
        self,
        desk: FileDesk,
        config: StoreConfig,
        max_picture: int,
        *,
        purpose: str | None = None,
        forms_only: bool = False,
    ) -> None:
        self.max_body = config.max_file_bytes + OVERHEAD
        self.seconds = config.upload_seconds
        self._desk = desk
        self._config = config
        self._max_picture = max_picture
        self._purpose = purpose
        self._forms_only = forms_only
        self._claims = Claims(config.uploads)

    def wants(self, headers: Mapping[bytes, str]) -> bool:
        """Whether a body with these headers is to be received here."""
        kind = headers.get(b"content-type", "").lstrip().lower()
        return not self._forms_only or kind.startswith("multipart/")

    async def take(
        self, owner: str, headers: Mapping[bytes, str], body: AsyncIterator[bytes]
    ) -> Upload:
        """Receive one body; it counts as coming until the upload is kept or discarded.

        Raises:
            BadRequestError: it is not the form it should be.
            HttpError: too large, over quota, too many at once, or the disk's fault.
        """
        if headers.get(b"content-encoding", "identity").lower() != "identity":
            raise HttpError(415, "an upload is sent as it is, not compressed")
        kind = headers.get(b"content-type", "")
        form = UploadForm(kind, self._config.max_file_bytes, self._max_picture, self._purpose)
        claim = self._claims.open(owner)
        release = partial(self._claims.release, claim)
        draft = self._desk.store.draft()
        upload: Upload | None = None
        try:
            await self._receive(claim, draft, form, body)
            upload = Upload(self._desk, draft, form.finish(), release)
        finally:
            if upload is None:
                self._desk.later(partial(_forget, draft, release))
        return upload

    async def _receive(
        self, claim: Claim, draft: Draft, form: UploadForm, body: AsyncIterator[bytes]
    ) -> None:
        """All bytes of the file into the draft, as long as the owner has room for them."""
        room = await at_the_disk(self._desk, lambda: self._desk.store.room(claim.owner))
        held: list[bytes] = []
        size = 0
        async for data in body:
            pieces = form.feed(data)
            count = sum(map(len, pieces))
            if self._claims.grow(claim, count) > room:
                raise self._desk.store.over_quota()
            held += pieces
            size += count
            if size >= _BLOCK:
                await self._write(draft, held)
                held, size = [], 0
        await self._write(draft, held)

    async def _write(self, draft: Draft, pieces: list[bytes]) -> None:
        await at_the_disk(self._desk, lambda: draft.write(b"".join(pieces)))


def _forget(draft: Draft, release: Callable[[], None]) -> None:
    """Blocking. What could not be removed counts no more: the next start sweeps it."""
    try:
        draft.discard()
    finally:
        release()


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
