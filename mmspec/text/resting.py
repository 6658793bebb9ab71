"""What drafters keep of texts that ended, so that a prompt known to the target is known to them.

The target's prefix cache skips what it has read before, so a drafter is not shown it again. Its
own memories outlive their texts therefore: cut to the slots of whole prefill chunks they rest in
the drafter's store, under the same identities as the target's chunks, until their room is needed.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from mmspec.core.errors import CacheFullError

if TYPE_CHECKING:
    import torch

    from mmspec.model.cache import KVCache

SHARE = 4  # what notes hold beside the store takes at most its bytes over this


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a memory was where a prompt's leading chunks ended.

    Attributes:
        filled: slots that hold them.
        first: absolute position of the first token that was read; above 0 where some were missed.
    """

    filled: int
    first: int = 0

    @property
    def beside(self) -> tuple[torch.Tensor, ...]:
        """Tensors that belong to it and stand outside the store."""
        return ()


N = TypeVar("N", bound=Note)


@dataclass(slots=True, eq=False)
class _Run(Generic[N]):
    """One text, in flight or at rest.

    Attributes:
        name: under which the cache holds its slots.
        notes: by identity of the chunks up to there, fewest chunks first.
        size: bytes beside the store.
    """

    name: str
    notes: dict[bytes, N] = field(default_factory=dict)
    size: int = 0

    @property
    def last(self) -> bytes:
        """Identity of all its chunks."""
        return next(reversed(self.notes))

    def adds(self, note: N) -> int:
        """Bytes beside the store that it shares with no earlier note; they come in order."""
        known = {id(one) for one in self.notes[self.last].beside} if self.notes else set()
        return sum(one.nbytes for one in note.beside if id(one) not in known)


class Resting(Generic[N]):
    """Who holds which part of a drafter's store: texts in flight, and what rests of others.

    Several texts may begin the same way. One of which another one knows every chunk does not rest.

    Args:
        cache: the store; nobody else opens or frees in it.

    Attributes:
        size: bytes that notes hold beside the store, over all texts.
    """

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache
        self._limit = cache.store.nbytes // SHARE
        self._flying: dict[str, _Run[N]] = {}
        self._resting: OrderedDict[bytes, _Run[N]] = OrderedDict()  # by last, least recent first
        self._holders: dict[bytes, dict[_Run[N], None]] = {}  # of a note; the latest last
        self.size = 0

    def __contains__(self, key: bytes) -> bool:
        """Whether somebody has read the chunks that ``key`` names."""
        return key in self._holders

    def open(self, id: str, capacity: int, keys: tuple[bytes, ...] = ()) -> N | None:
        """Give a text room for ``capacity`` slots and a tree beyond them; what rests gives way.

        Args:
            keys: identities of its leading chunks that it would rather copy than read.

        Returns:
            What the text is now; None where nobody knows all of these chunks.

        Raises:
            CacheFullError: there is no room, with nothing at rest.
        """
        if capacity + self._cache.scratch > self._cache.slots:  # in vain, whoever gives way
            raise CacheFullError(f"no room for {capacity} slots among {self._cache.slots}")
        source = self._best(keys)
        if source is not None and self._resting.get(source.last) is source:
            self._resting.move_to_end(source.last)
        while True:
            try:
                self._cache.open(id, capacity)
            except CacheFullError:
                if not self._resting:
                    raise
                self._drop_oldest()
            else:
                break
        self._flying[id] = _Run(id)
        source = self._best(keys)  # it may have had to go
        return None if source is None else self._copy(source, id, keys)

    def note(self, id: str, key: bytes, note: N) -> None:
        """Write down what a text in flight is, having read the chunks that ``key`` names.

        Where what notes hold beside the store would become too much, nothing is written.
        """
        run = self._flying[id]
        adds = run.adds(note)
        while self.size + adds > self._limit and self._resting:
            self._drop_oldest()
        if self.size + adds > self._limit:
            return
        run.notes[key] = note
        run.size += adds
        self.size += adds
        self._holders.setdefault(key, {})[run] = None
        before = self._resting.get(key)
        if before is not None and self._is_covered(before):
            self._drop(before)

    def close(self, id: str) -> None:
        """A text ended: what others may use of it rests. Unknown ids are fine."""
        run = self._flying.get(id)
        if run is None:
            return
        if not run.notes or self._is_covered(run):
            self._drop(run)
            return
        before = self._resting.get(run.last)
        if before is not None:  # it missed more than this one
            self._drop(before)
        del self._flying[id]
        run.name = f"resting {run.last.hex()}"
        self._cache.keep(id, run.name, run.notes[run.last].filled)
        self._resting[run.last] = run

    def clear(self) -> None:
        """Forget every text that is not in flight."""
        while self._resting:
            self._drop_oldest()

    def _copy(self, source: _Run[N], id: str, keys: tuple[bytes, ...]) -> N:
        found = source.notes
        self._cache.copy(source.name, id, found[keys[-1]].filled)
        for key in keys:
            if key in found:
                self.note(id, key, found[key])
        return found[keys[-1]]

    def _best(self, keys: tuple[bytes, ...]) -> _Run[N] | None:
        """Of those who know these chunks, the latest who missed least."""
        if not keys:
            return None
        holders = reversed(self._holders.get(keys[-1], {}))
        return min(holders, key=lambda run: run.notes[keys[-1]].first, default=None)

    def _is_covered(self, run: _Run[N]) -> bool:
        """Whether another text knows as much."""
        last = run.last
        return any(
            other is not run and other.notes[last].first <= run.notes[last].first
            for other in self._holders[last]
        )

    def _drop_oldest(self) -> None:
        self._drop(next(iter(self._resting.values())))

    def _drop(self, run: _Run[N]) -> None:
        for key in run.notes:
            holders = self._holders[key]
            del holders[run]
            if not holders:
                del self._holders[key]
        if self._flying.get(run.name) is run:
            del self._flying[run.name]
        else:
            del self._resting[run.last]
        self.size -= run.size
        self._cache.free(run.name)
