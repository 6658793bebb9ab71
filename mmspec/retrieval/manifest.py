"""The manifest of a folder of segments: which of them count. The only file there that changes.

It is replaced as a whole, under a lock, so it is always of one piece; what it does not name is
the rest of something that died, and is removed by whoever next changes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmspec.core.errors import CorpusError
from mmspec.retrieval.segment_build import sweep
from mmspec.retrieval.segment_file import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST, LOCK = "MANIFEST", "LOCK"
FAN = 8  # segments of a level that become one of the next


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A segment that counts.

    Attributes:
        name: of its file. level: how often its texts were merged.
        tokens: with separators. bytes: of the file.
        dead: texts in it that are no longer said.
    """

    name: str
    level: int = 0
    tokens: int
    bytes: int
    dead: tuple[int, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Which segments count, oldest first; ``generation`` grows with every change."""

    generation: int = 0
    segments: tuple[Entry, ...] = ()


class Change:
    """Somebody who is alone with a manifest."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self.manifest = folder, manifest

    def write(self, segments: tuple[Entry, ...]) -> None:
        """Replace the manifest."""
        manifest = Manifest(generation=self.manifest.generation + 1, segments=segments)
        handle, name = tempfile.mkstemp(prefix=MANIFEST, dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, 0o644)  # who may come in is for the folder to say
                file.write(msgspec.json.format(msgspec.json.encode(manifest)))
                file.flush()
                os.fsync(handle)
            Path(name).rename(self._folder / MANIFEST)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        settle(self._folder)


@contextlib.contextmanager
def change(folder: Path) -> Iterator[Change]:
    """Alone with the manifest of a folder; leftovers of those who died are removed first.

    Raises:
        CorpusError: the folder cannot be written to, or what is there makes no sense.
    """
    try:
        with (folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            manifest = read_manifest(folder)
            _tidy(folder, manifest)
            yield Change(folder, manifest)
    except OSError as error:
        raise CorpusError(f"{folder}: {error.strerror}") from error


def read_manifest(folder: Path) -> Manifest:
    """Which segments of a folder count; none where nothing was ever built.

    Raises:
        CorpusError: not a folder, or its manifest makes no sense.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder")
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return Manifest()
    except OSError as error:
        raise CorpusError(f"{folder / MANIFEST}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise CorpusError(f"{folder / MANIFEST} makes no sense: {error}") from error


def pick(manifest: Manifest, most: int, everything: bool) -> list[Entry]:
    """What to merge next: nothing, or segments that together have at most ``most`` tokens."""

    def fitting(entries: list[Entry]) -> list[Entry]:
        sums = np.cumsum([entry.tokens for entry in entries])
        return entries[: int(np.searchsorted(sums, most, "right"))]

    if everything:
        ordered = sorted(manifest.segments, key=lambda entry: entry.tokens)
        chosen = fitting(ordered)
        return chosen if len(chosen) > 1 or any(one.dead for one in chosen) else []
    for level in sorted({entry.level for entry in manifest.segments}):
        alike = [entry for entry in manifest.segments if entry.level == level]
        chosen = fitting(alike[:FAN])
        if len(alike) >= FAN and len(chosen) > 1:
            return chosen
    return []


def _tidy(folder: Path, manifest: Manifest) -> None:
    sweep(folder)
    counted = {entry.name for entry in manifest.segments}
    for path in folder.glob(f"*{SUFFIX}"):
        if path.name not in counted:
            path.unlink(missing_ok=True)
    for path in folder.glob(f"{MANIFEST}?*"):
        path.unlink(missing_ok=True)


def settle(folder: Path) -> None:
    """Have what happened to a folder's names on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
