"""What drafters may hold, and how far they reach: known before anything of a prompt is read.

The target's keys and values are admitted by ``KVCache``; this is the same for drafters. A drafter
for whose memory there is no room does not watch a sequence, which goes on without it: nobody ever
waits for a guess.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmspec.core.drafter import Limited, Pooled, Sized

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mmspec.core.drafter import Drafter
    from mmspec.core.request import Request
    from mmspec.core.sequence import Sequence


class Bounds:
    """Bytes and positions of all drafters of an engine.

    Args:
        drafters: by address. most: bytes that all of them may hold together.
    """

    def __init__(self, drafters: Mapping[str, Drafter], most: float = math.inf) -> None:
        self._sized = {one: mind for one, mind in drafters.items() if isinstance(mind, Sized)}
        self._limited = {one: mind for one, mind in drafters.items() if isinstance(mind, Limited)}
        self._most = most
        self._held: dict[tuple[str, str], int] = {}  # (sequence id, address) -> bytes
        self._reach: dict[tuple[str, str], int] = {}  # -> tokens

    @property
    def held(self) -> int:
        """Bytes set aside, over all sequences in flight."""
        # A copy: whoever reads the metrics does so beside the thread that admits.
        return sum(list(self._held.values()))

    def ahead(self, address: str, request: Request) -> str | None:
        """Why a drafter cannot watch a request, whoever else is in flight; None: it can."""
        count = len(request.prompt.ids)
        reach = self._limited[address].reach(request) if address in self._limited else None
        if reach is not None and count > reach:
            return f"the prompt has {count} tokens, its positions end at {reach}"
        wanted, most = self._wanted(address, count), self._ceiling(address)
        return _no_room(wanted, most, 0) if wanted > most else None

    def admit(self, sequence: Sequence, tokens: int, addresses: Iterable[str]) -> dict[str, str]:
        """Set aside what these drafters will hold of a sequence, in this order.

        Args:
            tokens: most that the sequence will have, prompt and answer.

        Returns:
            address -> why not, of those for which there is no room.
        """
        self.release(sequence.id)
        off: dict[str, str] = {}
        for address in addresses:
            key = sequence.id, address
            why = self._full(address, tokens)
            if why is not None:
                off[address] = why
                continue
            if address in self._sized:
                self._held[key] = self._wanted(address, tokens)
            if address in self._limited:
                reach = self._limited[address].reach(sequence.request)
                if reach is not None and reach < tokens:
                    self._reach[key] = reach
        return off

    def may_yet(self, address: str, sequence: Sequence, tokens: int) -> bool:
        """Whether a drafter that found no room for a sequence will, when others have left."""
        refused = address in self._sized and (sequence.id, address) not in self._held
        return refused and self._wanted(address, tokens) <= self._ceiling(address)

    def spent(self, sequence: Sequence) -> list[tuple[str, str]]:
        """Drafters whose positions have ended in a sequence's text, with the reason."""
        if not self._reach:
            return []
        return [
            (address, f"its positions end at {reach} tokens")
            for (id, address), reach in list(self._reach.items())
            if id == sequence.id and len(sequence) > reach
        ]

    def release(self, id: str, address: str | None = None) -> None:
        """Give back what was set aside for a sequence, by all drafters or one."""
        for kept in (self._held, self._reach):
            for key in [key for key in kept if key[0] == id and address in (None, key[1])]:
                del kept[key]

    def _full(self, address: str, tokens: int) -> str | None:
        """Why there is no room now."""
        if address not in self._sized:
            return None
        wanted = self._wanted(address, tokens)
        own = sum(size for key, size in self._held.items() if key[1] == address)
        for most, taken in ((self._pool(address), own), (self._most, self.held)):
            if wanted > most - taken:
                return _no_room(wanted, most, taken)
        return None

    def _wanted(self, address: str, tokens: int) -> int:
        return self._sized[address].room(tokens) if address in self._sized else 0

    def _ceiling(self, address: str) -> float:
        return min(self._most, self._pool(address))

    def _pool(self, address: str) -> float:
        drafter = self._sized.get(address)
        return drafter.pool if isinstance(drafter, Pooled) else math.inf


def _no_room(wanted: int, most: float, taken: int) -> str:
    beside = f", {_megabytes(taken)} of them taken" if taken else ""
    return f"no room: would hold {_megabytes(wanted)} of {_megabytes(most)}{beside}"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.4g} MB"
