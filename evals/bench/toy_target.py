"""A target that is a toy, and trees of no drafter: what the bench of drafting runs on."""

from __future__ import annotations

import numpy as np
from suffix import NOTHING

from mmspec.core.tree import TokenTree

# Log-chances that a toy gives what it ranks.
LIKELY = np.log(np.array([0.6, 0.2, 0.05, 0.03, 0.02, 0.01, 0.01, 0.01, 0.01, 0.01], np.float32))


class Toy:
    """A target that goes on as told, and ranks what came last after each token."""

    def __init__(self, width: int) -> None:
        self._last: dict[int, np.ndarray] = {}
        self._width = width

    def read(self, text: np.ndarray) -> None:
        """What comes after what."""
        for token, after in zip(text[:-1].tolist(), text[1:].tolist(), strict=True):
            row = self._last.get(token, NOTHING)
            self._last[token] = np.append(after, row[row != after])[: self._width]

    def top(self, tree: TokenTree) -> np.ndarray:
        """int64 [N, k]; -1 where there are fewer."""
        rows = np.full((len(tree), self._width), -1, np.int64)
        for row, token in zip(rows, tree.tokens.tolist(), strict=True):
            told = self._last.get(token, NOTHING)
            row[: len(told)] = told
        return rows


def walk(tree: TokenTree, coming: np.ndarray) -> np.ndarray:
    """The nodes that come true, int64, the root first."""
    kept = [0]
    for token in coming:
        below = np.flatnonzero((tree.parents == kept[-1]) & (tree.tokens == token))
        if not len(below):
            break
        kept.append(int(below[0]))
    return np.array(kept, np.int64)


def some_tree(noise: np.random.Generator, size: int, source: int) -> TokenTree:
    """A tree as drafters make them: deep at first, then wide, over few tokens."""
    tokens, parents, scores = [7], [-1], [0.0]
    known = set()
    while len(tokens) < size:
        parent = len(tokens) - 1 if noise.random() < 0.6 else int(noise.integers(len(tokens)))
        token = int(noise.integers(12))
        if (parent, token) not in known:
            known.add((parent, token))
            tokens.append(token)
            parents.append(parent)
            scores.append(scores[parent] + np.log(noise.uniform(0.2, 0.95)))
    return TokenTree(
        np.array(tokens), np.array(parents, np.int32), np.array(scores, np.float32),
        np.full(size, source, np.uint8),
    )  # fmt: skip
