"""Ranking by chance: what a ranker is worth is what it gives beyond this. For ablations."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Random:
    """Any passages, in any order: a function of the seed, the question and how many there are."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def read(self, passages: Sequence[str]) -> RandomRanking:
        """Count passages."""
        return RandomRanking(self._seed, len(passages))


class RandomRanking:
    """Counted passages."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed, self._count = seed, count

    def scores(self, question: str) -> np.ndarray:
        """Float32 [P] in (0, 1]."""
        dice = np.random.default_rng([self._seed, zlib.crc32(question.encode())])
        return 1.0 - dice.random(self._count, np.float32)


def ranker(detail: str) -> Random:
    """The ranker ``random`` or ``random:SEED``.

    Raises:
        ConfigError: the seed is not a whole number, 0 or more.
    """
    if detail and not detail.isdecimal():
        raise ConfigError(f"ranker random:{detail}: the seed is a whole number, 0 or more")
    return Random(int(detail or 0))
