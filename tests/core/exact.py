"""Exact laws of random programs: every outcome of every choice, with its probability.

A program takes ``choice(chances) -> index`` for all its randomness and returns the tokens it emits.
Shorter emissions are extended by the served law, so that any two lossless rules give one law over
texts of ``LENGTH`` tokens, however many tokens each emits at a time.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from core.toy import Toy, sequence

from mmspec.core.history import History
from mmspec.core.sampling import law
from mmspec.core.tree import TokenTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mmspec.core.request import Sampling

    Choice = Callable[[np.ndarray], int]

LENGTH = 4


def outcomes(program: Callable[[Choice], list[int]]) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every emission and its probability, by replaying the program depth first."""
    script: list[tuple[list[int], list[float]]] = []  # options still open at each choice; [0] taken
    while True:
        place, probability = 0, 1.0

        def choice(chances: np.ndarray) -> int:
            nonlocal place, probability
            if place == len(script):
                options = [int(index) for index in np.flatnonzero(chances)]
                script.append((options, [float(chances[index]) for index in options]))
            options, values = script[place]
            place += 1
            probability *= values[0]
            return options[0]

        emitted = tuple(program(choice))
        yield emitted, probability
        while script and len(script[-1][0]) == 1:
            script.pop()
        if not script:
            return
        script[-1][0].pop(0)
        script[-1][1].pop(0)


class World:
    """A toy target with one served law, and the exact law of its texts."""

    def __init__(
        self,
        sampling: Sampling,
        vocabulary: int = 3,
        seed: int = 0,
        stops: frozenset[int] = frozenset(),
    ) -> None:
        self.toy = Toy(vocabulary, seed=seed, spread=1.5)
        self.vocabulary, self.stops, self.sampling = vocabulary, stops, sampling
        self.text = sequence(sampling, prompt=(0, 1), seed=0)
        self.served = cache(self._served)
        self.extended = cache(self._extended)

    def row(self, path: tuple[int, ...]) -> np.ndarray:
        """Raw logits after a path below the root: float32 [V]."""
        return self.toy.row((*self.text.tokens.tolist(), *path))

    def _served(self, path: tuple[int, ...], history: tuple[int, ...] | None = None) -> np.ndarray:
        """Served probabilities after a path (shaped by another ``history`` in wrong rules)."""
        before = History.of(self.text, self.vocabulary)
        for token in path if history is None else history:
            before.push(token)
        found = law(self.row(path), self.sampling, before, self.stops)
        chances = np.zeros(self.vocabulary)
        weights = np.exp(found.weights.astype(np.float64))
        chances[found.tokens] = weights / weights.sum()
        return chances

    def _extended(self, path: tuple[int, ...]) -> np.ndarray:
        """The law of texts of ``LENGTH`` tokens that begin with a path: [V ** LENGTH]."""
        cells = np.zeros(self.vocabulary**LENGTH)
        if len(path) == LENGTH:
            cells[int(np.ravel_multi_index(path, (self.vocabulary,) * LENGTH))] = 1.0
            return cells
        if self.stops.intersection(path):
            return self.extended((*path, 0))  # an ended text is padded with zeros
        for token, chance in enumerate(self.served(path)):
            if chance > 0:
                cells += chance * self.extended((*path, token))
        return cells

    def distance(self, program: Callable[[Choice], list[int]]) -> float:
        """Total variation between what the program emits and the served law."""
        cells, total = np.zeros(self.vocabulary**LENGTH), 0.0
        for emitted, probability in outcomes(program):
            cells += probability * self.extended(emitted)
            total += probability
        assert abs(total - 1) < 1e-12
        return float(0.5 * np.abs(cells - self.extended(())).sum())


def path_to(tree: TokenTree, node: int) -> tuple[int, ...]:
    """Tokens from below the root down to a node."""
    path: list[int] = []
    while node > 0:
        path.append(int(tree.tokens[node]))
        node = int(tree.parents[node])
    return tuple(reversed(path))


def tree_of(paths: list[tuple[int, ...]], root: int = 1) -> TokenTree:
    """The trie of some paths."""
    whole = sorted({path[:size] for path in paths for size in range(len(path) + 1)} | {()}, key=len)
    place = {path: index for index, path in enumerate(whole)}
    return TokenTree(
        np.array([root, *(path[-1] for path in whole[1:])], np.int64),
        np.array([-1, *(place[path[:-1]] for path in whole[1:])], np.int32),
        -np.array([len(path) for path in whole], np.float32),
        np.zeros(len(whole), np.uint8),
    )


def all_trees(vocabulary: int, depth: int, nodes: int = 10**6) -> Iterator[TokenTree]:
    """Every tree to a depth, with at most so many nodes."""
    for paths in _subtrees(vocabulary, depth, nodes):
        yield tree_of(paths)


def _subtrees(vocabulary: int, depth: int, nodes: int) -> Iterator[list[tuple[int, ...]]]:
    """Paths of every tree; each list holds all its nodes, the root as the empty path."""
    if nodes < 1:
        return
    below: list[list[tuple[int, ...]] | None] = [None]
    if depth > 0:
        below += _subtrees(vocabulary, depth - 1, nodes - 1)
    for branches in product(below, repeat=vocabulary) if depth > 0 else [()]:
        paths = [()] + [
            (token, *path)
            for token, branch in enumerate(branches)
            if branch is not None
            for path in branch
        ]
        if len(paths) <= nodes:
            yield paths
