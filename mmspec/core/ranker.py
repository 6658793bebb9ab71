"""What a ranker is: it reads passages once, then says of each how near it is to a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


class Ranking(Protocol):
    """Passages that were read; any number of questions may follow."""

    def scores(self, question: str) -> np.ndarray:
        """How near each passage is, float32 [P], higher is nearer; 0 or less: not at all."""
        ...


class Ranker(Protocol):
    """A way to find what a question is about. Blocking: not for an event loop."""

    def read(self, passages: Sequence[str]) -> Ranking:
        """Read passages, at least one, in the order of their document."""
        ...
