"""Drafters that exist to try the engine: one that guesses at random, one that half knows.

Both are functions of the sequence alone, so a run can be repeated; neither ever stays silent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.drafter import Needs
from mmspec.core.tree import TokenTree

if TYPE_CHECKING:
    from mmspec.core.drafter import Budget, Observation
    from mmspec.core.sequence import Sequence


class Random:
    """Trees of any shape, full to the budget, of tokens that have nothing to do with the text."""

    needs = Needs()

    def __init__(self, vocabulary: int, seed: int = 0) -> None:
        self._vocabulary = vocabulary
        self._seed = seed

    def observe(self, sequences: list[Sequence], seen: Observation) -> None:
        """Nothing to learn."""

    def draft(self, sequences: list[Sequence], budgets: list[Budget]) -> list[TokenTree]:
        """One random tree a sequence."""
        return [
            random_tree(_dice(self._seed, one), int(one.tokens[-1]), budget, self._vocabulary)
            for one, budget in zip(sequences, budgets, strict=True)
        ]

    def forget(self, id: str) -> None:
        """Nothing is held."""


class Knowing:
    """Knows the text to come and hides it among lies.

    Args:
        texts: request id -> the tokens that will follow the prompt.
        truth: chance that the true token is among the guesses at a node of the true path.
    """

    needs = Needs()

    def __init__(self, texts: dict[str, list[int]], vocabulary: int, truth: float = 0.8) -> None:
        self._texts = texts
        self._vocabulary = vocabulary
        self._truth = truth

    def observe(self, sequences: list[Sequence], seen: Observation) -> None:
        """Nothing to learn."""

    def draft(self, sequences: list[Sequence], budgets: list[Budget]) -> list[TokenTree]:
        """The true path as far as luck goes, with false children beside and below it."""
        return [self._tree(one, budget) for one, budget in zip(sequences, budgets, strict=True)]

    def forget(self, id: str) -> None:
        """Nothing is held."""

    def _tree(self, sequence: Sequence, budget: Budget) -> TokenTree:
        dice = _dice(1, sequence)
        ahead = self._texts[sequence.request.id][len(sequence.output) :]
        grown = _Growing(int(sequence.tokens[-1]))
        tip = 0
        for token in ahead[: budget.depth]:
            lies = dice.integers(0, self._vocabulary, int(dice.integers(0, 3))).tolist()
            guesses = [*lies, token] if dice.random() < 0.5 else [token, *lies]
            if dice.random() > self._truth:
                guesses = lies
            places = {guess: grown.add(tip, guess, budget) for guess in guesses}
            if lies and dice.random() < 0.5:  # a lie that goes on with the truth
                grown.add(places[lies[0]], token, budget)
            if places.get(token) is None:
                break
            tip = places[token]
        return grown.tree()


def random_tree(dice: np.random.Generator, root: int, budget: Budget, vocabulary: int) -> TokenTree:
    """A tree of ``budget.nodes`` nodes wherever distinct siblings allow."""
    grown = _Growing(root)
    for _ in range(budget.nodes - 1):
        parent = int(dice.integers(0, len(grown.tokens)))
        grown.add(parent, int(dice.integers(0, vocabulary)), budget)
    return grown.tree()


class _Growing:
    def __init__(self, root: int) -> None:
        self.tokens, self.parents, self.depths = [root], [-1], [0]

    def add(self, parent: int | None, token: int, budget: Budget) -> int | None:
        """Where the child stands, old or new; None when it does not fit."""
        if parent is None or self.depths[parent] >= budget.depth:
            return None
        for node, (above, here) in enumerate(zip(self.parents, self.tokens, strict=True)):
            if above == parent and here == token:
                return node
        if len(self.tokens) >= budget.nodes:
            return None
        self.tokens.append(token)
        self.parents.append(parent)
        self.depths.append(self.depths[parent] + 1)
        return len(self.tokens) - 1

    def tree(self) -> TokenTree:
        count = len(self.tokens)
        return TokenTree(
            tokens=np.array(self.tokens, np.int64),
            parents=np.array(self.parents, np.int32),
            scores=-np.array(self.depths, np.float32),
            source=np.zeros(count, np.uint8),
        )


def _dice(seed: int, sequence: Sequence) -> np.random.Generator:
    return np.random.default_rng([seed, len(sequence), *sequence.id.encode()])
