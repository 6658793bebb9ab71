"""Files of all owners: bytes and their index kept in step, within quotas and times.

Order is what makes it safe to be killed anywhere: bytes are whole on disk before a row names
them, and a row is gone before its bytes are. What either leaves over is swept at the start.
"""

from __future__ import annotations

import fcntl
import logging
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mmspec.core.errors import ConfigError
from mmspec.serve.blobs import Blobs, Draft
from mmspec.serve.errors import HttpError, Noun, no_file
from mmspec.serve.file_index import FileIndex, FileRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.core.config import StoreConfig
    from mmspec.serve.form import UploadFields

log = logging.getLogger(__name__)
_LOCK = "lock"  # by this file in it a folder is known as a store
_PREFIX = {"file": "file", "document": "doc"}  # of ids


class FileStore:
    """Everything here blocks, and may be called from any thread.

    An owner is an opaque string; one owner's id is for all others as good as none.

    Args:
        config: folder, quotas and times.
        clock: seconds since 1970.
        noun: what is kept here, for ids and messages.
    """

    def __init__(
        self, config: StoreConfig, clock: Callable[[], float] = time.time, noun: Noun = "file"
    ) -> None:
        self._config = config
        self._clock = clock
        self._noun: Noun = noun
        self._lock = threading.Lock()
        self._folder = Path()
        self._claim: BinaryIO | None = None

    def start(self) -> None:
        """Open the folder, for this process alone, and put it in order. Idempotent.

        Raises:
            ConfigError: the folder cannot be used, is no place for private files, or is used by
                another process.
        """
        if self._claim is not None:
            return
        directory = self._config.directory
        try:
            if directory is None:
                self._folder = Path(tempfile.mkdtemp(prefix=f"mmspec-{self._noun}s-"))
            else:
                self._folder = Path(directory).expanduser()
                _make_private(self._folder)
            claim = _claim(self._folder)
        except BlockingIOError as error:
            raise ConfigError(f"another process keeps files in {directory}") from error
        except OSError as error:
            message = f"{self._noun}s cannot be kept in {directory}: {error}"
            raise ConfigError(message) from error
        try:
            self._blobs = Blobs(self._folder)
            self._blobs.open()
            self._index = FileIndex(self._folder / "files.sqlite")
            self._tidy()
        except BaseException:
            claim.close()
            raise
        self._claim = claim

    def close(self) -> None:
        """Let go of the folder; a private one is removed."""
        if self._claim is None:
            return
        with self._lock:
            self._index.close()
            self._claim.close()
            self._claim = None
        if self._config.directory is None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def draft(self) -> Draft:
        """A place for the bytes of a file to come."""
        return self._blobs.draft()

    def room(self, owner: str) -> int:
        """Bytes an owner may still add.

        Raises:
            HttpError: 429, the owner has as many files as may be.
        """
        with self._lock:
            self._expire()
            return self._room(owner)

    def keep(self, draft: Draft, fields: UploadFields, owner: str, note: str = "") -> FileRow:
        """Make a file of the bytes that came; they belong to the store from now on.

        Raises:
            HttpError: 429, over the owner's quota.
            OSError: the disk's. sqlite3.Error: the index's, and nothing was kept.
        """
        draft.finish()
        with self._lock:
            self._expire()
            created = int(self._clock())
            seconds = fields.seconds or self._config.ttl_seconds
            row = FileRow(
                id=f"{_PREFIX[self._noun]}-{secrets.token_hex(16)}",
                owner=owner,
                digest=draft.digest,
                bytes=draft.size,
                created_at=created,
                expires_at=created + seconds if seconds else None,
                filename=fields.filename,
                purpose=fields.purpose,
                note=note,
            )
            if draft.size > self._room(owner):
                raise self.over_quota()
            try:
                with self._index.change():
                    self._index.add(row)
                    self._blobs.keep(draft)  # before the row becomes true
            except BaseException:
                if not self._index.references(row.digest):
                    self._blobs.remove(row.digest)
                raise
        return row

    def find(self, owner: str, id: str, param: str = "id") -> FileRow:
        """A file's facts.

        Raises:
            HttpError: 404, there is none, it has expired, or it is somebody else's.
        """
        with self._lock:
            row = self._index.find(owner, id, self._clock())
        if row is None:
            raise no_file(id, param, self._noun)
        return row

    def page(
        self, owner: str, *, purpose: str | None, after: str | None, newest: bool, limit: int
    ) -> list[FileRow]:
        """Up to ``limit`` files of an owner in order of arrival, after the file ``after``.

        Raises:
            HttpError: 404, no such file to go on from.
        """
        with self._lock:
            now = self._clock()
            if after is not None and self._index.find(owner, after, now) is None:
                raise no_file(after, "after", self._noun)
            return self._index.page(
                owner, now, purpose=purpose, after=after, newest=newest, limit=limit
            )

    def open(self, owner: str, id: str, param: str = "id") -> tuple[FileRow, BinaryIO]:
        """A file's facts and its bytes; the caller closes them.

        Raises:
            HttpError: 404, as ``find``.
        """
        with self._lock:
            row = self._index.find(owner, id, self._clock())
            if row is not None:
                try:
                    return row, self._blobs.read(row.digest)
                except FileNotFoundError:
                    log.error("the bytes of %s are gone from the store", id)
        raise no_file(id, param, self._noun)

    def delete(self, owner: str, id: str) -> None:
        """Delete a file; its bytes go with the last file that has them.

        Raises:
            HttpError: 404, as ``find``.
        """
        with self._lock:
            row = self._index.find(owner, id, self._clock())
            if row is None:
                raise no_file(id, "id", self._noun)
            self._drop([row])

    def sweep(self) -> None:
        """Remove what has expired."""
        with self._lock:
            if self._claim is not None:  # else closed meanwhile
                self._expire()

    def over_quota(self) -> HttpError:
        """429 that clients do not repeat: room comes with deletion or time, not in a moment."""
        files, bytes = self._config.owner_files, self._config.owner_bytes
        return HttpError(
            429,
            f"one key may keep up to {files} {self._noun}s and {bytes} bytes; delete some",
            "storage_quota_exceeded",
            "file",
            headers={"x-should-retry": "false"},
        )

    def _room(self, owner: str) -> int:
        bytes, count = self._index.held(owner)
        if count >= self._config.owner_files:
            raise self.over_quota()
        return self._config.owner_bytes - bytes

    def _expire(self) -> None:
        self._drop(self._index.expired(self._clock()))

    def _drop(self, rows: list[FileRow]) -> None:
        if not rows:
            return
        with self._index.change():
            for row in rows:
                self._index.remove(row.id)
        for digest in {row.digest for row in rows}:
            if not self._index.references(digest):
                self._blobs.remove(digest)

    def _tidy(self) -> None:
        """After a process that may have died anywhere: no row without bytes, no bytes without."""
        with self._lock:
            self._expire()
            rows = self._index.everything()
            lost = [row for row in rows if self._blobs.size(row.digest) != row.bytes]
            for row in lost:
                log.error("the bytes of %s are gone from the store", row.id)
            self._drop(lost)
            self._blobs.sweep({row.digest for row in rows} - {row.digest for row in lost})


def _make_private(folder: Path) -> None:
    """Make a folder that its owner alone may enter; one that is there already is closed to others.

    Raises:
        ConfigError: it is open to others and holds what is not ours, as /tmp or a home does:
            somebody may need it open. OSError: the disk's, or the folder is another user's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077 == 0:
        return
    if any(folder.iterdir()) and not (folder / _LOCK).is_file():
        raise ConfigError(
            f"{folder} is open to other users and holds other things than what clients left; "
            "name a folder of its own, or close this one (chmod 700)"
        )
    folder.chmod(0o700)


def _claim(folder: Path) -> BinaryIO:
    """A handle that keeps other processes out while it is open, however its holder ends.

    Raises:
        BlockingIOError: another process has it.
    """
    claim = (folder / _LOCK).open("ab")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        claim.close()
        raise
    return claim
