"""What is known of each thing that is kept: one SQLite table, every row with its owner."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from mmspec.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# serial orders files by arrival: several may share a second.
_TABLE = """
CREATE TABLE IF NOT EXISTS files (
    serial INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    note TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS by_owner ON files (owner, serial);
CREATE INDEX IF NOT EXISTS by_digest ON files (digest);
CREATE INDEX IF NOT EXISTS by_end ON files (expires_at) WHERE expires_at IS NOT NULL;
"""
_NEWER = (("note", "TEXT NOT NULL DEFAULT ''"),)  # columns that earlier tables lack
_COLUMNS = "id, owner, digest, bytes, created_at, expires_at, filename, purpose, note"
_LIVE = "owner = ? AND (expires_at IS NULL OR expires_at > ?)"
_PAGE = f"SELECT {_COLUMNS} FROM files WHERE {_LIVE} AND (? IS NULL OR purpose = ?)"
# One fixed text each way; nothing a client sent ever becomes SQL.
_NEWEST_FIRST = f"{_PAGE} AND (? IS NULL OR serial < ?) ORDER BY serial DESC LIMIT ?"
_OLDEST_FIRST = f"{_PAGE} AND (? IS NULL OR serial > ?) ORDER BY serial ASC LIMIT ?"


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of one owner; times are whole seconds since 1970, ``digest`` names the bytes.

    ``note`` is what its keeper wants to remember of it; the index does not read it.
    """

    id: str
    owner: str
    digest: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    note: str = ""


class FileIndex:
    """The table. One thread at a time: the caller holds the lock.

    Raises:
        ConfigError: the file is there and is no index of ours.
    """

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")  # what was answered survives power loss
            self._base.executescript(_TABLE)
            known = {row[1] for row in self._base.execute("PRAGMA table_info(files)")}
            for name, kind in _NEWER:
                if name not in known:
                    self._base.execute(f"ALTER TABLE files ADD COLUMN {name} {kind}")
        except sqlite3.DatabaseError as error:
            self._base.close()
            raise ConfigError(f"{path} cannot be used as an index of files: {error}") from error

    def close(self) -> None:
        """Nothing may be asked after this."""
        self._base.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """All changes made inside happen together, or none does."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        except BaseException:
            if self._base.in_transaction:  # some failures have ended it already
                self._base.execute("ROLLBACK")
            raise

    def add(self, row: FileRow) -> None:
        """Insert."""
        self._base.execute(
            f"INSERT INTO files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", astuple(row)
        )

    def remove(self, id: str) -> None:
        """Delete a row, if there is one."""
        self._base.execute("DELETE FROM files WHERE id = ?", (id,))

    def find(self, owner: str, id: str, now: float) -> FileRow | None:
        """An owner's living file."""
        found = self._base.execute(
            f"SELECT {_COLUMNS} FROM files WHERE {_LIVE} AND id = ?", (owner, now, id)
        ).fetchone()
        return None if found is None else FileRow(*found)

    def page(
        self, owner: str, now: float, *, purpose: str | None, after: str | None, newest: bool,
        limit: int,
    ) -> list[FileRow]:  # fmt: skip
        """Up to ``limit`` living files of an owner, from the one after ``after`` on."""
        serial = None
        if after is not None:
            (serial,) = self._base.execute(
                "SELECT serial FROM files WHERE id = ? AND owner = ?", (after, owner)
            ).fetchone()
        order = _NEWEST_FIRST if newest else _OLDEST_FIRST
        found = self._base.execute(order, (owner, now, purpose, purpose, serial, serial, limit))
        return [FileRow(*row) for row in found]

    def held(self, owner: str) -> tuple[int, int]:
        """Bytes and count of an owner's files; bytes shared with others count in full."""
        bytes, count = self._base.execute(
            "SELECT coalesce(sum(bytes), 0), count(*) FROM files WHERE owner = ?", (owner,)
        ).fetchone()
        return bytes, count

    def references(self, digest: str) -> int:
        """How many files have these bytes, whosever they are."""
        (count,) = self._base.execute(
            "SELECT count(*) FROM files WHERE digest = ?", (digest,)
        ).fetchone()
        return count

    def expired(self, now: float) -> list[FileRow]:
        """Files whose time is over."""
        found = self._base.execute(f"SELECT {_COLUMNS} FROM files WHERE expires_at <= ?", (now,))
        return [FileRow(*row) for row in found]

    def everything(self) -> list[FileRow]:
        """All files of all owners."""
        return [FileRow(*row) for row in self._base.execute(f"SELECT {_COLUMNS} FROM files")]
