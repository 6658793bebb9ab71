"""Bytes on disk under the name of their SHA-256: written aside, then moved in one step.

A name is there only once all its bytes are, so a process that dies leaves at worst a blob that
nobody refers to, never a reference to half a blob.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import threading
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

_PRIVATE = 0o700
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class Draft:
    """Bytes that are still coming, in a file of their own; nothing is on disk before ``write``.

    Writing may still be going on in one thread when another gives up: hence the lock.

    Attributes:
        path: where the bytes are until they are kept.
        size: bytes so far.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / secrets.token_hex(16)
        self.size = 0
        self._seal = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        self._over = False

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes so far, in hex."""
        return self._seal.hexdigest()

    def write(self, data: bytes) -> None:
        """Append. Blocking.

        Raises:
            OSError: the disk's, or the draft is over.
        """
        with self._lock:
            if self._over:
                raise OSError("this draft is over")
            if self._file is None:
                self._file = self.path.open("xb")
            self._file.write(data)
            self._file.flush()  # whoever checks the bytes opens the path
            self._seal.update(data)
            self.size += len(data)

    def finish(self) -> None:
        """Have the bytes on the disk, not in its caches. Blocking.

        Raises:
            OSError: the disk's.
        """
        self.write(b"")  # an empty file is a file too
        with self._lock:
            if self._file is not None:
                os.fsync(self._file.fileno())
                self._file.close()

    def discard(self) -> None:
        """Forget the bytes, unless they were kept meanwhile. Idempotent, blocking."""
        with self._lock:
            self._over = True
            if self._file is not None:
                self._file.close()
                self._file = None
                self.path.unlink(missing_ok=True)


class Blobs:
    """The folder; who refers to what is written elsewhere.

    Args:
        folder: made with its parents when opened, readable by its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self._kept = folder / "blobs"
        self._incoming = folder / "incoming"

    def open(self) -> None:
        """Make the folders; what an earlier process had not finished receiving is dropped."""
        for folder in (self._kept, self._incoming):
            folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        for path in self._incoming.iterdir():
            path.unlink()

    def draft(self) -> Draft:
        """A place for bytes to come."""
        return Draft(self._incoming)

    def keep(self, draft: Draft) -> None:
        """Give a finished draft its name; the same bytes may have it already.

        Raises:
            OSError: the disk's.
        """
        path = self._path(draft.digest)
        if not path.parent.is_dir():
            path.parent.mkdir(mode=_PRIVATE, exist_ok=True)
            _settle(path.parent.parent)
        draft.path.replace(path)
        _settle(path.parent)

    def read(self, digest: str) -> BinaryIO:
        """Open a blob; an open one can be read to its end even if it is removed meanwhile.

        Raises:
            FileNotFoundError: there is none.
        """
        return self._path(digest).open("rb")

    def size(self, digest: str) -> int | None:
        """Bytes of a blob; None: there is none."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, digest: str) -> None:
        """Remove a blob nobody refers to any more."""
        self._path(digest).unlink(missing_ok=True)

    def sweep(self, known: Container[str]) -> int:
        """Remove every blob that is not known; returns how many."""
        unknown = [path for path in self._kept.glob("??/*") if path.name not in known]
        for path in unknown:
            path.unlink(missing_ok=True)
        return len(unknown)

    def _path(self, digest: str) -> Path:
        if not _DIGEST.match(digest):  # ours alone, but a path is built from it
            raise ValueError("not a SHA-256")
        return self._kept / digest[:2] / digest


def _settle(folder: Path) -> None:
    """Have a folder's names on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot, and need not
            os.fsync(handle)
    finally:
        os.close(handle)
