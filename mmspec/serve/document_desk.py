"""Documents as the event loop sees them: read within bounds, kept as text, found by their owner."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from mmspec.serve.document_reader import DocumentReader, Reading
from mmspec.serve.errors import overloaded
from mmspec.serve.file_desk import FileDesk
from mmspec.serve.file_store import FileStore
from mmspec.serve.form import UploadFields
from mmspec.serve.intake import at_the_disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from mmspec.core.config import DocumentsConfig
    from mmspec.serve.file_index import FileRow


_WAITING = 8  # documents a reader may have before it


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a document beside its text.

    Attributes:
        characters: of its text, as offsets count them.
        tokens: of its text, about; None: more than the model could read, and not counted.
    """

    characters: int
    tokens: int | None


class DocumentDesk:
    """One a server. Documents are texts in a file store of their own.

    Args:
        config: bounds, quotas and times.

    Attributes:
        files: where the texts lie; the ``purpose`` of one is what it was read from.
        config: as given.
    """

    def __init__(self, config: DocumentsConfig) -> None:
        self.config = config
        self.files = FileDesk(config, FileStore(config, noun="document"))
        self._reader = DocumentReader(config)
        self._readers = ThreadPoolExecutor(config.readers, thread_name_prefix="mmspec-documents")
        self._most = config.readers * (1 + _WAITING)
        self._being_read = 0

    async def open(self) -> None:
        """Before the first request.

        Raises:
            ConfigError: the folder cannot be used.
        """
        await self.files.open()

    async def close(self) -> None:
        """After the last request. Idempotent."""
        await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)
        await self.files.close()

    async def read(
        self, source: Callable[[], BinaryIO], filename: str, param: str = "file"
    ) -> Reading:
        """Read a document; at most as many at once as there are readers.

        Args:
            source: opens it; blocking.
            filename: as the client calls it.
            param: the field that is at fault if it cannot be read.

        Raises:
            BadRequestError, HttpError: there is no text to be had, or too much of it; 503, too many
                wait to be read.
        """
        if self._being_read >= self._most:
            raise overloaded("too many documents are being read at once", 1.0)

        def work() -> Reading:
            with source() as opened:
                return self._reader.read(opened, filename, param)

        self._being_read += 1  # until it is read, whether or not anybody still waits
        future = self._readers.submit(work)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._one_less))
        return await asyncio.wrap_future(future)

    def _one_less(self) -> None:
        self._being_read -= 1

    async def keep(
        self, owner: str, reading: Reading, facts: Facts, filename: str, seconds: int | None
    ) -> FileRow:
        """Keep the text of a document.

        Raises:
            HttpError: 429, over the owner's quota; 507 or 500, the disk's fault.
        """
        fields = UploadFields(filename, reading.kind, seconds)
        note = msgspec.json.encode(facts).decode()

        def work() -> FileRow:
            draft = self.files.store.draft()
            try:
                draft.write(reading.text.encode())
                return self.files.store.keep(draft, fields, owner, note)
            finally:
                draft.discard()

        return await at_the_disk(self.files, work)

    async def text(self, owner: str, id: str, param: str = "id") -> str:
        """The text of a document.

        Raises:
            HttpError: 404, there is none, it has expired, or it is somebody else's.
        """

        def work() -> str:
            _, source = self.files.store.open(owner, id, param)
            with source:
                return source.read().decode()

        return await self.files.run(work)


def facts_of(row: FileRow) -> Facts:
    """What was remembered of a document."""
    return msgspec.json.decode(row.note, type=Facts)
