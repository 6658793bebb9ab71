"""What a draft model has read of every sequence: keys and values of committed tokens.

Everything is read from the sequence itself, so nothing is lost when a step was not shown. Picture
placeholders, and ids the draft model does not know, are left out: its positions are compact. What
it read of a prompt's whole chunks outlives the sequence (``resting``), to save reading it again.

Axes: C tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.errors import CacheFullError
from mmspec.text.resting import Note, Resting
from mmspec.text.spots import Home

if TYPE_CHECKING:
    from mmspec.core.sequence import Sequence
    from mmspec.model.cache import KVCache


@dataclass(slots=True)
class Memory:
    """One sequence.

    Attributes:
        base: slot of its first token. room: most tokens it may hold.
        read: leading tokens of the sequence that were read or left out.
        filled: slots with tokens read; fewer than ``read`` where some were left out.
    """

    sequence: Sequence
    base: int
    room: int
    read: int = 0
    filled: int = 0

    @property
    def home(self) -> Home:
        """Where its rows stand."""
        return Home(self.base, self.filled)

    def keep(self, slots: int, read: int) -> None:
        """Committed tokens up to index ``read`` now stand in ``slots`` more slots."""
        self.filled += slots
        self.read = read

    def reopen(self) -> None:
        """Give back the last decided token, whose row says what follows it, if it was read."""
        if self.read == len(self.sequence):
            self.keep(-1, self.read - 1)


class Memories:
    """All sequences in one bounded store.

    Args:
        cache: the store; its scratch is where trees grow.
        known: bool [V], ids the draft model may read.
        limit: most tokens it may read of one sequence.
    """

    def __init__(self, cache: KVCache, known: np.ndarray, limit: int) -> None:
        self.cache, self.limit = cache, limit
        self._known = np.append(known, False)  # the last stands for all ids beyond
        self._held: dict[str, Memory] = {}
        self._resting = Resting[Note](cache)

    def room(self, tokens: int) -> int:
        """Bytes of a sequence of so many tokens, and of a tree beyond them."""
        return (min(tokens, self.limit) + self.cache.scratch) * self.cache.slot_bytes

    def readable(self, tokens: np.ndarray) -> np.ndarray:
        """Those of the tokens int64 [C] that the draft model may read."""
        return tokens[self._known[np.minimum(tokens, len(self._known) - 1)]]

    def waiting(self, memory: Memory) -> np.ndarray:
        """What is decided and was not read yet, int64 [C], the last decided token last."""
        return self.readable(memory.sequence.tokens[memory.read :])

    def of(self, sequence: Sequence) -> Memory | None:
        """The sequence's memory, new where there is none or the id was used before.

        A new one begins with all that is known of the prompt's whole chunks.

        None where the prompt is too long for the draft model, or while the store is full.
        """
        held = self._held.get(sequence.id)
        if held is not None and held.sequence is sequence:
            return held
        self.forget(sequence.id)
        prompt = len(self.readable(sequence.tokens[: sequence.prompt_length]))
        asked = sequence.request.sampling.max_tokens
        room = self.limit if asked is None else min(prompt + asked, self.limit)
        if prompt > room:
            return None
        chunk, keys = sequence.prefix
        known = next((n for n in range(len(keys), 0, -1) if keys[n - 1] in self._resting), 0)
        try:
            note = self._resting.open(sequence.id, room, keys[:known])
        except CacheFullError:
            return None
        held = self._held[sequence.id] = Memory(sequence, self.cache.base(sequence.id), room)
        if note is not None:
            held.keep(note.filled, known * chunk)
        return held

    def note(self, memory: Memory) -> None:
        """Where a whole chunk of the prompt ends, what was read up to it may serve others."""
        keys = memory.sequence.prefix.upto(memory.read)
        if keys:
            self._resting.note(memory.sequence.id, keys[-1], Note(filled=memory.filled))

    def forget(self, id: str) -> None:
        """Give the slots back, but for what rests; unknown ids are fine."""
        if self._held.pop(id, None) is not None:
            self._resting.close(id)

    def clear(self) -> None:
        """Forget what rests."""
        self._resting.clear()
