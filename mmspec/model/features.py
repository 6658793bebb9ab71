"""FeatureCache: what the vision tower said of pictures, by picture, within a limit of bytes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmspec.model.families.family import Encoded


@dataclass(slots=True)
class _Entry:
    encoded: Encoded
    size: int  # bytes
    users: int


class FeatureCache:
    """Pictures nobody uses go when room is needed, least recently used first.

    One in use never goes, so that ``bytes`` may exceed ``limit`` for as long as prompts are read.
    What is in use is bounded by the prompts admitted: a picture's row of features is a fraction of
    the keys and values that the same token takes.

    Args:
        limit: bytes of features kept; 0 keeps none but those in use.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __getitem__(self, key: str) -> Encoded:
        return self._entries[key].encoded

    def hold(self, key: str) -> bool:
        """One user more, if the picture is here at all."""
        entry = self._entries.get(key)
        if entry is None:
            return False
        entry.users += 1
        self._entries.move_to_end(key)
        return True

    def release(self, key: str) -> None:
        """One user fewer."""
        self._entries[key].users -= 1
        self._evict()

    def add(self, key: str, encoded: Encoded, users: int) -> None:
        """Keep a new picture, which so many use already."""
        size = sum(part.nbytes for part in (encoded.embeds, *encoded.deepstack))
        self._entries[key] = _Entry(encoded, size, users)
        self.bytes += size
        self._evict()

    def clear(self) -> None:
        """Forget every picture that nobody uses."""
        self._evict(limit=0)

    def _evict(self, limit: int | None = None) -> None:
        limit = self.limit if limit is None else limit
        if self.bytes <= limit:
            return
        for key in [key for key, entry in self._entries.items() if entry.users == 0]:
            self.bytes -= self._entries.pop(key).size
            if self.bytes <= limit:
                return
