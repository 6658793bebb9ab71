"""A folder of segments, and a manifest that says which of them count.

The manifest is replaced as a whole, under a lock, and is the only thing that changes: a segment is
there when the manifest names it. Whoever has a shelf mounted sees what others did to it when it
next looks (``refresh``).

Small segments are merged eight at a time into one of the next level, as log-structured stores do
(O'Neil et al. 1996), so there are few to search. A text that shall no longer be said is marked in
the manifest at once and is gone from the disk with its segment's next merge, or with ``sweep``.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmspec.core.errors import CorpusError
from mmspec.retrieval.manifest import MANIFEST, Entry, change, pick, read_manifest, settle
from mmspec.retrieval.segment_build import Draft
from mmspec.retrieval.segment_file import SUFFIX, mount, read_marks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence as ListOf
    from pathlib import Path

    from mmspec.retrieval.segment import Identity, Segment

_log = logging.getLogger(__name__)


class Shelf:
    """A folder whose segments are for one tokenizer and one owner.

    Attributes:
        folder: where.
        mounted: what may be searched now; replaced as a whole, so any thread may read it.
        faults: by name, why a segment that counts is not mounted.

    Raises:
        CorpusError: the manifest cannot be read.
    """

    def __init__(self, folder: Path, identity: Identity, owner: str) -> None:
        self.folder, self.identity, self.owner = folder, identity, owner
        self.mounted: tuple[Segment, ...] = ()
        self.faults: dict[str, str] = {}
        self._seen: tuple[int, int, int] | None = None
        self._one_at_a_time = threading.Lock()
        self._mount(self._stamp())

    def refresh(self) -> None:
        """Mount what was added since last time and let go of what was removed."""
        with self._one_at_a_time:
            now = self._stamp()
            if now != self._seen or any(one.fault() for one in self.mounted):
                self._mount(now)

    def _mount(self, now: tuple[int, int, int] | None) -> None:
        self._seen = now  # looked at once, even if it cannot be read
        self.mounted = tuple(one for one in self.mounted if one.fault() is None)
        held = {one.name: one for one in self.mounted}
        entries = {entry.name: entry for entry in read_manifest(self.folder).segments}
        kept: list[Segment] = []
        self.faults = {}
        for name, entry in entries.items():
            try:
                segment = held.get(name) or mount(self.folder / name, self.identity, self.owner)
            except CorpusError as error:
                self.faults[name] = str(error)
                _log.warning("not mounted: %s", error)
                continue
            segment.dead = _dead(entry, len(segment.starts) - 1)
            kept.append(segment)
        self.mounted = tuple(kept)

    def add(self, draft: Draft, level: int = 0) -> None:
        """Sort a draft and have it count.

        Raises:
            CorpusError: it cannot be finished; nothing has changed.
        """
        self._publish(draft, level, ())

    def merge(self, most: int, everything: bool = False) -> bool:
        """Make one of the ``FAN`` oldest segments of a level; or of all that fit, dead texts gone.

        Args:
            most: largest segment to make, in tokens.
            everything: whether to merge whatever there is.

        Returns:
            Whether anything was merged.

        Raises:
            CorpusError: a segment cannot be read, or the new one not written; nothing has changed.
        """
        self.refresh()
        chosen = pick(read_manifest(self.folder), most, everything)
        return bool(chosen) and self._rewrite(chosen, max(entry.level for entry in chosen) + 1)

    def sweep(self) -> int:
        """Write every segment with dead texts anew, however large, so that they leave the disk.

        Returns:
            How many were.

        Raises:
            CorpusError: a segment cannot be read, or the new one not written.
        """
        self.refresh()
        marked = [entry for entry in read_manifest(self.folder).segments if entry.dead]
        return sum(self._rewrite([entry], entry.level) for entry in marked)

    def _rewrite(self, chosen: ListOf[Entry], level: int) -> bool:
        """Put one segment of what is still said in the place of some; False: they have changed."""
        segments = {one.name: one for one in self.mounted}
        if any(entry.name not in segments for entry in chosen):
            return False
        with Draft(self.folder, self.identity, self.owner) as draft:
            for entry in chosen:
                _copy(self.folder / entry.name, segments[entry.name], draft)
            if draft.tokens:
                return self._publish(draft, level, tuple(chosen))
        self.drop(tuple(entry.name for entry in chosen))
        return True

    def drop(self, names: tuple[str, ...]) -> None:
        """Remove segments; whoever has one mounted lets go of it when it next looks.

        Raises:
            CorpusError: there is no such segment.
        """
        with change(self.folder) as alone:
            entries = alone.manifest.segments
            unknown = set(names) - {entry.name for entry in entries}
            if unknown:
                raise CorpusError(f"{self.folder} has no segment {', '.join(sorted(unknown))}")
            alone.write(tuple(entry for entry in entries if entry.name not in names))
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        self.refresh()

    def bury(self, name: str, texts: tuple[int, ...]) -> None:
        """Have nothing said any more out of some texts of a segment, by their numbers.

        Raises:
            CorpusError: there is no such segment or text.
        """
        count = len(read_marks(self.folder / name))
        if any(not 0 <= text < count for text in texts):
            raise CorpusError(f"{name} has {count} texts, numbered from 0")
        with change(self.folder) as alone:
            entries = alone.manifest.segments
            if name not in {entry.name for entry in entries}:
                raise CorpusError(f"{self.folder} has no segment {name}")
            alone.write(
                tuple(
                    msgspec.structs.replace(entry, dead=tuple(sorted({*entry.dead, *texts})))
                    if entry.name == name
                    else entry
                    for entry in entries
                )
            )
        self.refresh()

    def _publish(self, draft: Draft, level: int, replaced: tuple[Entry, ...]) -> bool:
        """Have a draft count in the place of others; not if those have changed meanwhile."""
        path, header = draft.finish()
        try:
            with change(self.folder) as alone:
                entries = alone.manifest.segments
                if any(one not in entries for one in replaced):
                    return False
                name = f"{alone.manifest.generation + 1:08d}-{os.urandom(4).hex()}{SUFFIX}"
                path.chmod(0o444 if not self.owner else 0o400)  # it is never written again
                path.rename(self.folder / name)
                settle(self.folder)
                entry = Entry(name=name, level=level, tokens=header.tokens, bytes=header.bytes)
                alone.write((*(one for one in entries if one not in replaced), entry))
        finally:
            draft.drop()
        self.refresh()
        for one in replaced:
            (self.folder / one.name).unlink(missing_ok=True)
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            told = (self.folder / MANIFEST).stat()
        except OSError:
            return None
        return told.st_mtime_ns, told.st_ino, told.st_size


def texts(segment: Segment) -> Iterator[tuple[int, np.ndarray]]:
    """Every text that is still said: its number and its ids, int64, without the separator."""
    for index in range(len(segment.starts) - 1):
        if not len(segment.dead) or not segment.dead[index]:
            span = slice(segment.starts[index], segment.starts[index + 1] - 1)
            yield index, segment.tokens[span].astype(np.int64)


def _copy(path: Path, segment: Segment, draft: Draft) -> None:
    taken = read_marks(path)["taken"]
    for index, ids in texts(segment):
        draft.add(ids, int(taken[index]))


def _dead(entry: Entry, count: int) -> np.ndarray:
    dead = np.zeros(count if entry.dead else 0, np.uint8)
    dead[[text for text in entry.dead if text < count]] = 1
    dead.flags.writeable = False
    return dead
