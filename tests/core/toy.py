"""A target of a few words: logits are a table keyed by the whole context."""

from __future__ import annotations

import numpy as np
import torch

from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.core.verify import Verdict, verify


class Toy:
    """Random logits that are a pure function of the tokens before them."""

    def __init__(self, vocabulary: int, seed: int = 0, spread: float = 2.0, ties: bool = False):
        self.vocabulary = vocabulary
        self._seed, self._spread, self._ties = seed, spread, ties
        self._rows: dict[tuple[int, ...], np.ndarray] = {}

    def row(self, context: tuple[int, ...]) -> np.ndarray:
        """float32 [V]."""
        if context not in self._rows:
            rng = np.random.default_rng([self._seed, len(context), *context])
            row = rng.standard_normal(self.vocabulary) * self._spread
            self._rows[context] = (np.round(row) if self._ties else row).astype(np.float32)
        return self._rows[context]

    def logits(self, sequence: Sequence, tree: TokenTree) -> torch.Tensor:
        """float32 [N, V]: the row after every node's own path."""
        paths: list[tuple[int, ...]] = [tuple(sequence.tokens.tolist())]
        for node in range(1, len(tree)):
            paths.append((*paths[tree.parents[node]], int(tree.tokens[node])))
        return torch.from_numpy(np.stack([self.row(path) for path in paths]))


def sequence(
    sampling: Sampling, prompt: tuple[int, ...] = (1, 2, 0), choice: int = 0, seed: int = 7
) -> Sequence:
    """One choice in flight."""
    return Sequence(Request("r", Prompt(np.array(prompt)), sampling), choice, seed)


def step(
    toy: Toy, sequences: list[Sequence], trees: list[TokenTree], eos: frozenset[int]
) -> Verdict:
    """Verify and extend, as an engine would."""
    pairs = zip(sequences, trees, strict=True)
    logits = torch.cat([toy.logits(sequence, tree) for sequence, tree in pairs])
    verdict = verify(trees, logits, sequences, eos)
    for index, (sequence, tree) in enumerate(zip(sequences, trees, strict=True)):
        if verdict.counts[index]:
            path = verdict.kept[index, 1 : verdict.counts[index]]
            sequence.extend(np.append(tree.tokens[path], verdict.next[index]))
    return verdict


def random_tree(rng: np.random.Generator, root: int, nodes: int, vocabulary: int) -> TokenTree:
    """A tree of at most ``nodes`` nodes: random shape, siblings token-unique."""
    tokens, parents, taken = [root], [-1], set()
    for _ in range(nodes - 1):
        parent, token = int(rng.integers(len(tokens))), int(rng.integers(vocabulary))
        if (parent, token) not in taken:
            taken.add((parent, token))
            tokens.append(token)
            parents.append(parent)
    depth = np.zeros(len(tokens))
    for node in range(1, len(tokens)):
        depth[node] = depth[parents[node]] + 1
    return TokenTree(
        np.array(tokens), np.array(parents, np.int32), (-depth).astype(np.float32),
        np.zeros(len(tokens), np.uint8),
    )  # fmt: skip
