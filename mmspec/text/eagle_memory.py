"""What a feature drafter holds of every sequence: keys and values of true features, and one state.

Only true features ever persist: a tree's own states live in scratch (``spots``).

Axes: H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmspec.core.errors import CacheFullError
from mmspec.model.cache import KVCache
from mmspec.text.spots import Home

if TYPE_CHECKING:
    import torch

    from mmspec.core.sequence import Sequence


@dataclass(slots=True)
class Memory:
    """One sequence.

    Attributes:
        end: absolute position after the last token that was read.
        filled: slots with true features; fewer than the tokens when met in the middle of a text,
            or when pictures take fewer slots than tokens.
        state, normed: [H], what the network says at the last of them, and as its head reads it;
            [k, H] where it says k states.
        first: absolute position of the first token that was read.
        dense: whether positions count slots and not tokens.
        bank: [N, 2, H], what a drafter that sees keeps of the N pictures read so far.
        halves: of the picture that a chunk's end has cut, what was shown of it, [part, ...] each.
    """

    sequence: Sequence
    base: int
    room: int
    end: int
    first: int
    dense: bool = False
    filled: int = 0
    state: torch.Tensor | None = None
    normed: torch.Tensor | None = None
    bank: torch.Tensor | None = None
    halves: list[torch.Tensor] = field(default_factory=list)

    @property
    def home(self) -> Home:
        """Where the rows that follow stand."""
        return Home(self.base, self.filled, 0 if self.dense else self.end - self.filled)


class Memories:
    """All sequences in one bounded store.

    Args:
        shape: (kv heads, head dimension). slots: tokens over all sequences.
        scratch: slots of a growing tree. context: most tokens of one sequence.
        dense: whether positions count slots and not tokens.

    Attributes:
        store: keys and values, [2, kv heads, S, D].
    """

    def __init__(
        self,
        shape: tuple[int, int],
        slots: int,
        scratch: int,
        context: int,
        dtype: torch.dtype,
        device: torch.device,
        *,
        dense: bool = False,
    ) -> None:
        self._dense = dense
        self._cache = KVCache(
            (1, *shape), max(slots, 2 * scratch), dtype=dtype, device=device, chunk=1,
            scratch=scratch,
        )  # fmt: skip
        self.store = self._cache.store[0]
        self._context = context
        self._held: dict[str, Memory] = {}

    def ready(self, sequence: Sequence) -> Memory | None:
        """The sequence's memory, if it has read all but the last decided token."""
        held = self._held.get(sequence.id)
        if held is None or held.sequence is not sequence or held.end != len(sequence) - 1:
            return None
        return held if held.filled else None

    def watch(self, sequence: Sequence, start: int, count: int) -> Memory | None:
        """The memory into which the tokens from ``start`` on go; None when there is no room.

        A gap in what was shown, or an id used again, begins a new one.
        """
        held = self._held.get(sequence.id)
        if held is not None and (held.sequence is not sequence or held.end != start):
            self.forget(sequence.id)
            held = None
        if held is None:
            asked = sequence.request.sampling.max_tokens
            last = self._context if asked is None else sequence.prompt_length + asked
            room = max(min(last, self._context) - start, count)
            try:
                self._cache.open(sequence.id, room)
            except CacheFullError:
                return None
            base = self._cache.base(sequence.id)
            held = Memory(sequence, base, room, start, start, self._dense)
            self._held[sequence.id] = held
        return held if held.filled + count <= held.room else None

    def forget(self, id: str) -> None:
        """Give the slots back; unknown ids are fine."""
        if self._held.pop(id, None) is not None:
            self._cache.free(id)
