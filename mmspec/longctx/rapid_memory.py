"""What RAPID's draft model holds of every sequence: an excerpt of the prompt, and the answer.

Room is a constant, whatever the prompt's length. The excerpt is made and read beside the engine's
steps; until that is done the sequence's memory is shut.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from mmspec.core.errors import CacheFullError
from mmspec.text.draft_model_memory import Memories, Memory

if TYPE_CHECKING:
    import numpy as np

    from mmspec.core.sequence import Sequence
    from mmspec.longctx.rapid_reading import Reading
    from mmspec.model.cache import KVCache


@dataclass(slots=True)
class Excerpted(Memory):
    """One sequence.

    Attributes:
        name: of its slots, which may outlive the sequence by a moment.
        reading: what goes on beside; None: not begun, or its end was taken in.
        lead: slots of the excerpt; None until it is read.
    """

    name: str = ""
    reading: Reading | None = None
    lead: int | None = None

    def rewind(self, kept: int) -> None:
        """Forget the answer but for its last ``kept`` tokens, which are to be read again."""
        self.filled = self.lead or 0
        self.read = max(len(self.sequence) - kept, self.sequence.prompt_length - 1)


class Excerpts(Memories):
    """All sequences in one bounded store.

    Args:
        room: tokens of one sequence, excerpt and answer.
    """

    def __init__(self, cache: KVCache, known: np.ndarray, room: int) -> None:
        super().__init__(cache, known, room)
        self._names = count()
        self._leaving: list[Excerpted] = []

    def room(self, tokens: int) -> int:
        """Bytes of any sequence: an excerpt, an answer and a tree."""
        return super().room(self.limit)

    def of(self, sequence: Sequence) -> Excerpted | None:
        """The sequence's memory, new where there is none; None while the store is full."""
        held = self._held.get(sequence.id)
        if held is not None and held.sequence is sequence:
            assert isinstance(held, Excerpted)
            return held
        self.forget(sequence.id)
        name = f"{sequence.id} {next(self._names)}"
        try:
            self.cache.open(name, self.limit)
        except CacheFullError:
            return None
        made = Excerpted(sequence, self.cache.base(name), self.limit, name=name)
        self._held[sequence.id] = made
        return made

    def sibling(self, memory: Excerpted) -> Excerpted | None:
        """Another choice of the same request whose excerpt is read, or about to be."""
        request = memory.sequence.request
        for other in self._held.values():
            assert isinstance(other, Excerpted)
            begun = other.lead is not None or other.reading is not None
            if other is not memory and other.sequence.request is request and begun:
                return other
        return None

    def share(self, source: Excerpted, memory: Excerpted) -> bool:
        """Copy the excerpt that ``source`` has read: choices of a request have one prompt."""
        assert source.lead is not None
        self.cache.copy(source.name, memory.name, source.lead)
        memory.lead = source.lead
        memory.keep(memory.lead, memory.sequence.prompt_length - 1)
        return True

    def note(self, memory: Memory) -> None:
        """Nothing rests when a text ends: an excerpt is of one question."""

    def forget(self, id: str) -> None:
        """Give the slots back, once nobody writes to them; unknown ids are fine."""
        self.sweep()
        held = self._held.pop(id, None)
        if held is None:
            return
        assert isinstance(held, Excerpted)
        if held.reading is None or held.reading.stop():
            self.cache.free(held.name)
        else:
            self._leaving.append(held)

    def sweep(self) -> None:
        """Give back the slots of those who left while their excerpt was being read."""
        for gone in [one for one in self._leaving if one.reading is None or one.reading.over]:
            self._leaving.remove(gone)
            self.cache.free(gone.name)
