"""Which of the target's tokens a drafter with a reduced head can say, and what that covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmspec.train.guards import GuardError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class DraftVocabulary(NamedTuple):
    """Draft ids are places in ``kept``, ascending by target id.

    Attributes:
        kept: int64 [V], the target id of every draft id.
        size: the target's vocabulary, W.
        coverage: share of all counted tokens that can be said.
    """

    kept: np.ndarray
    size: int
    coverage: float

    @property
    def d2t(self) -> np.ndarray:
        """As EAGLE-3 stores it: target id minus draft id, int64 [V]."""
        return self.kept - np.arange(len(self.kept))

    @property
    def t2d(self) -> np.ndarray:
        """As EAGLE-3 stores it: which target ids can be said, bool [W]."""
        mask = np.zeros(self.size, np.bool_)
        mask[self.kept] = True
        return mask


def counts(responses: Iterable[Sequence[int]], size: int) -> np.ndarray:
    """How often each of the target's ids was said, int64 [W]."""
    total = np.zeros(size, np.int64)
    for response in responses:
        total += np.bincount(np.asarray(response, np.int64), minlength=size)
    return total


def choose(counted: np.ndarray, room: int, always: frozenset[int]) -> DraftVocabulary:
    """The ``room`` most frequent ids, ``always`` among them; lower ids first among equals.

    Args:
        counted: int64 [W]. always: ids taken whatever their count, such as those that end a text.

    Raises:
        GuardError: ``always`` alone has more.
    """
    if len(always) > room:
        raise GuardError(f"a draft vocabulary of {room} has no room for {len(always)} fixed ids")
    weight = counted.astype(np.float64)
    weight[sorted(always)] = np.inf
    best = np.argsort(-weight, kind="stable")[:room]
    kept = np.sort(best)
    total = max(1, int(counted.sum()))
    return DraftVocabulary(kept, len(counted), float(counted[kept].sum() / total))


def report(counted: np.ndarray, rooms: Iterable[int], always: frozenset[int]) -> dict[int, float]:
    """Coverage by size of draft vocabulary: what a larger one would buy."""
    return {room: choose(counted, room, always).coverage for room in rooms}
