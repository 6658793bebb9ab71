"""Making a segment: texts go to a temporary file as they come, then their places are sorted.

Nothing with a segment's name is ever half written: the file is on the disk and checked before it
gets one. A build that dies leaves a temporary file, which the next one in that folder removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np

from mmspec.core.errors import CorpusError
from mmspec.retrieval.segment_file import MARK, PAGE, Header, lay_out, pack_header

if TYPE_CHECKING:
    from mmspec.retrieval.segment import Identity

MOST = 1 << 29  # tokens of a segment: its sorted places are 32 bits wide, their bytes 31
BUCKETED = 1 << 16  # tokens from which a table of first tokens pays
TEMPORARY = ".building-"


def digest_of(ids: np.ndarray) -> bytes:
    """By what a text, int64 [K], is known: 16 bytes."""
    return blake2b(np.ascontiguousarray(ids, "<i8").tobytes(), digest_size=16).digest()


class Draft:
    """A segment that is being written in ``folder``; leaves nothing temporary when it is left.

    Raises:
        CorpusError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, identity: Identity, owner: str) -> None:
        self.tokens = 0
        self._identity, self._owner, self._folder = identity, owner, folder
        self._starts, self._marks = [0], []  # type: list[int], list[tuple[int, bytes]]
        try:
            self._path, self._file = _temporary(folder)
        except OSError as error:
            raise CorpusError(f"{folder}: {error.strerror}") from error
        self._file.seek(PAGE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.drop()

    def add(self, ids: np.ndarray, taken: int | None = None) -> None:
        """One text: int64 [K] ids below the vocabulary, K > 0; nothing else is looked at.

        Raises:
            CorpusError: the disk is full; the draft is gone.
        """
        self.tokens += len(ids) + 1
        self._starts.append(self.tokens)
        self._marks.append((int(time.time()) if taken is None else taken, digest_of(ids)))
        said = np.append(ids, self._identity.size).astype(self._identity.dtype)
        try:
            self._file.write(said.tobytes())
        except OSError as error:
            raise self._failed(error.strerror) from error

    def finish(self) -> tuple[Path, Header]:
        """Sort it and have it on the disk, still under a temporary name, until ``drop``.

        Raises:
            CorpusError: nothing was added, or it cannot be done here; the draft is gone.
        """
        if not 0 < self.tokens <= MOST:
            raise self._failed(f"a segment has 1 to {MOST} tokens, not {self.tokens}")
        header = Header(
            width=self._identity.dtype.itemsize, tokens=self.tokens, texts=len(self._marks),
            vocabulary=self._identity.size, tokenizer=self._identity.digest, owner=self._owner,
            created=int(time.time()),
        )  # fmt: skip
        header = lay_out(header, bucketed=self.tokens >= BUCKETED)
        try:
            self._write_tables(header)
        except OSError as error:
            raise self._failed(error.strerror) from error
        command = [sys.executable, "-m", "mmspec.retrieval.segment_sort", str(self._path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            why = f"ended by signal {-done.returncode}" if done.returncode < 0 else ""
            raise self._failed(why or (said[-1] if said else f"status {done.returncode}"))
        return self._path, header

    def drop(self) -> None:
        """Leave nothing behind under the temporary name."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _write_tables(self, header: Header) -> None:
        for name, made in (
            ("texts", np.array(self._starts, "<i8")),
            ("marks", np.array(self._marks, MARK)),
        ):
            self._file.seek(header.sections[name].offset)
            self._file.write(made.tobytes())
        self._file.truncate(header.bytes)
        self._file.seek(0)
        self._file.write(pack_header(header))
        self._file.flush()

    def _failed(self, why: str | None) -> CorpusError:
        try:
            self.drop()
        except OSError:  # what could not be written cannot be flushed either
            self._path.unlink(missing_ok=True)
        return CorpusError(f"no segment could be built in {self._folder}: {why}")


def _temporary(folder: Path) -> tuple[Path, BinaryIO]:
    """A new file, locked for as long as it is open, which says that somebody is at it."""
    while True:
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return Path(name), os.fdopen(handle, "r+b")
        os.close(handle)  # somebody swept before it was locked


def sweep(folder: Path) -> None:
    """Remove what builds that died have left in a folder."""
    for path in folder.glob(f"{TEMPORARY}*"):
        # Either it is gone meanwhile, or its builder lives and has it locked.
        with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
