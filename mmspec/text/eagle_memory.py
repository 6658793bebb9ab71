"""What a feature drafter holds of every sequence: keys and values of true features, and one state.

Only true features ever persist: a tree's own states live in scratch (``spots``). What was known
where a whole chunk of a prompt ended outlives the sequence (``resting``).

Axes: H hidden, E the target's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmspec.core.errors import CacheFullError
from mmspec.model.cache import KVCache
from mmspec.text.resting import Note, Resting
from mmspec.text.spots import Home

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from mmspec.core.sequence import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Known(Note):
    """A memory where a whole chunk ended: the attributes of ``Memory``, none of which change."""

    end: int
    late: Mapping[int, torch.Tensor]
    bank: torch.Tensor | None
    halves: tuple[torch.Tensor, ...]

    @property
    def beside(self) -> tuple[torch.Tensor, ...]:
        """All its tensors."""
        return (*self.late.values(), *self.halves, *(() if self.bank is None else (self.bank,)))


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
        late: layer -> [1, E], of a token that was shown and waits for the one after it.
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
    late: Mapping[int, torch.Tensor] = field(default_factory=dict)

    @property
    def shown(self) -> int:
        """Absolute position after the last token that was shown."""
        return self.end + bool(self.late)

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
        self._resting = Resting[Known](self._cache)
        self._context = context
        self._held: dict[str, Memory] = {}

    def room(self, tokens: int) -> int:
        """Bytes of a sequence of so many tokens, and of a tree beyond them."""
        return (min(tokens, self._context) + self._cache.scratch) * self._cache.slot_bytes

    def ready(self, sequence: Sequence) -> Memory | None:
        """The sequence's memory, if it has read all but the last decided token."""
        held = self._held.get(sequence.id)
        if held is None or held.sequence is not sequence or held.end != len(sequence) - 1:
            return None
        return held if held.filled else None

    def rouse(self, sequence: Sequence) -> Memory | None:
        """The memory of a prompt that the target knew up to its root, so that none of it is shown.

        Its last slot is still to be read.
        """
        at = len(sequence) - 1
        if at >= sequence.prompt_length or not sequence.prefix.upto(at):
            return None
        memory = self.watch(sequence, at, 0)
        return memory if memory is not None and memory.late else None

    def watch(self, sequence: Sequence, start: int, count: int) -> Memory | None:
        """The memory into which the tokens from ``start`` on go; None when there is no room.

        A gap in what was shown, or an id used again, begins a new one. One that begins after
        whole chunks of its prompt goes on from what is known of them.
        """
        held = self._held.get(sequence.id)
        if held is not None and (held.sequence is not sequence or held.shown != start):
            self.forget(sequence.id)
            held = None
        if held is None:
            held = self._begin(sequence, start, count)
        if held is None or held.filled + bool(held.late) + count > held.room:
            return None
        return held

    def note(self, memory: Memory) -> None:
        """A whole chunk of the prompt ends here: what is known now may serve others."""
        keys = memory.sequence.prefix.upto(memory.shown)
        known = Known(
            filled=memory.filled, first=memory.first, end=memory.end, late=memory.late,
            bank=memory.bank, halves=tuple(memory.halves),
        )  # fmt: skip
        self._resting.note(memory.sequence.id, keys[-1], known)

    def forget(self, id: str) -> None:
        """Give the slots back, but for what rests; unknown ids are fine."""
        if self._held.pop(id, None) is not None:
            self._resting.close(id)

    def clear(self) -> None:
        """Forget what rests."""
        self._resting.clear()

    def _begin(self, sequence: Sequence, start: int, count: int) -> Memory | None:
        keys = sequence.prefix.upto(start)
        known = bool(keys) and keys[-1] in self._resting
        asked = sequence.request.sampling.max_tokens
        last = self._context if asked is None else sequence.prompt_length + asked
        room = max(min(last, self._context) - (0 if known else start), count)
        try:
            note = self._resting.open(sequence.id, room, keys)
        except CacheFullError:
            return None
        base = self._cache.base(sequence.id)
        held = Memory(sequence, base, room, start, start, self._dense)
        if note is not None:
            held.end, held.first, held.filled = note.end, note.first, note.filled
            held.bank, held.halves, held.late = note.bank, list(note.halves), note.late
        self._held[sequence.id] = held
        return held
