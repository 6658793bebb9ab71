"""Rankers for tests, and a tokenizer whose every id is a word: its number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def pieces(vocabulary: int) -> list[bytes]:
    """The bytes of every id."""
    return [b"%d " % id for id in range(vocabulary)]


class Shared:
    """How many rare words of the question a passage has.

    Words that are in every passage, or nowhere else, say nothing.
    """

    def read(self, passages: Sequence[str]) -> SharedRanking:
        """Read passages."""
        return SharedRanking([set(passage.split()) for passage in passages])


class SharedRanking:
    """Words of passages."""

    def __init__(self, passages: list[set[str]]) -> None:
        self._passages = passages

    def scores(self, question: str) -> np.ndarray:
        """How near each passage is, float32 [P]."""
        words = sorted(set(question.split()))
        has = np.array([[word in passage for word in words] for passage in self._passages])
        rare = np.log(len(has) / np.maximum(has.sum(0), 1))
        return (has * rare).sum(1).astype(np.float32)


class Noise:
    """Whatever passages, in any order: a pure function of its seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def read(self, passages: Sequence[str]) -> NoiseRanking:
        """Count passages."""
        return NoiseRanking(self._seed, len(passages))


class NoiseRanking:
    """Counted passages."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed, self._count = seed, count

    def scores(self, question: str) -> np.ndarray:
        """Random, float32 [P]."""
        return np.random.default_rng(self._seed).random(self._count).astype(np.float32)
