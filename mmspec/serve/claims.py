"""What uploads on their way count for, until their bytes are a file or gone."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from mmspec.serve.errors import overloaded


@dataclass(eq=False, slots=True)
class Claim:
    """One upload's part of it.

    Attributes:
        owner: who sends it. bytes: of its file, so far.
    """

    owner: str
    bytes: int = 0


class Claims:
    """The uploads of one server that have not ended.

    Any thread may ask: an upload begins on the event loop and ends where its bytes are moved.

    Args:
        most: uploads at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: set[Claim] = set()

    def open(self, owner: str) -> Claim:
        """One upload more; whoever opens it sees that it is released, however it ends.

        Raises:
            HttpError: 503, there are as many as may be.
        """
        with self._lock:
            if len(self._open) >= self._most:
                raise overloaded("too many uploads at once", 1.0)
            claim = Claim(owner)
            self._open.add(claim)
        return claim

    def grow(self, claim: Claim, count: int) -> int:
        """So many bytes more; returns the owner's, of all uploads that have not ended."""
        with self._lock:
            claim.bytes += count
            return sum(one.bytes for one in self._open if one.owner == claim.owner)

    def release(self, claim: Claim) -> None:
        """The upload has ended. Idempotent."""
        with self._lock:
            self._open.discard(claim)
