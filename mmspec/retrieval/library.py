"""Everything that may be quoted to somebody: corpora for all, and each tenant's own memory."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mmspec.core.errors import ConfigError, CorpusError
from mmspec.retrieval.segment import PUBLIC, Identity, Segment
from mmspec.retrieval.segment_file import mount
from mmspec.retrieval.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

_log = logging.getLogger(__name__)


class Public:
    """Corpora that everybody reads and nobody writes: folders with a manifest, or single files.

    Raises:
        ConfigError: one cannot be read, or was built for another tokenizer.
    """

    def __init__(self, paths: ListOf[str], identity: Identity) -> None:
        self._shelves: list[Shelf] = []
        self._files: list[Segment] = []
        try:
            for path in map(Path, paths):
                if path.is_file():
                    self._files.append(mount(path, identity, PUBLIC))
                    continue
                shelf = Shelf(path, identity, PUBLIC)
                if shelf.faults:
                    raise CorpusError("; ".join(shelf.faults.values()))
                if not shelf.mounted:
                    raise CorpusError(f"{path} holds no index: build one with mmspec index build")
                self._shelves.append(shelf)
        except CorpusError as error:
            raise ConfigError(f"[drafters.retrieval.corpus]: {error}") from error

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What may be searched now."""
        return (*self._files, *(one for shelf in self._shelves for one in shelf.mounted))

    def refresh(self) -> None:
        """See what became of the folders; what is wrong with one is logged, the others stay."""
        for shelf in self._shelves:
            try:
                shelf.refresh()
            except CorpusError as error:
                _log.warning("a corpus is left as it was: %s", error)
