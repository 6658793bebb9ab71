"""Ways to thin what quotes before it is fused with a model's guesses (A11).

RASD (arXiv:2503.03434) keeps retrieved continuations by what the model says of their first token;
``core.fuse`` has that rule as ``rasd``. Beside it: the counts alone, and both together.

Axes: N nodes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmspec.core.tree import TokenTree


def by_count(trees: list[TokenTree], models: int) -> list[TokenTree]:
    """Of every tree that quotes only what begins with the token most of its places say."""
    return [tree if _guessed(tree, models) else _first_alone(tree) for tree in trees]


def softly(trees: list[TokenTree], models: int) -> list[TokenTree]:
    """First tokens of what quotes have the mean of their chance there and of the model's.

    A token the model does not guess keeps half its chance; without a model's tree all stays.
    """
    said: dict[int, float] = {}
    for tree in trees:
        if _guessed(tree, models):
            for node in np.flatnonzero(tree.parents == 0):
                chance = float(np.exp(tree.scores[node]))
                said[int(tree.tokens[node])] = max(chance, said.get(int(tree.tokens[node]), 0.0))
    if not said:
        return trees
    return [tree if _guessed(tree, models) else _shifted(tree, said) for tree in trees]


def _guessed(tree: TokenTree, models: int) -> bool:
    return bool(models >> int(tree.source[-1]) & 1)


def _first_alone(tree: TokenTree) -> TokenTree:
    firsts = np.flatnonzero(tree.parents == 0)
    banned = np.zeros(len(tree), np.bool_)
    if len(firsts):
        banned[firsts] = True
        banned[firsts[np.argmax(tree.scores[firsts])]] = False
    return tree.without(banned)


def _shifted(tree: TokenTree, said: dict[int, float]) -> TokenTree:
    shift = np.zeros(len(tree), np.float32)
    for node in range(1, len(tree)):
        above = int(tree.parents[node])
        if above > 0:
            shift[node] = shift[above]
            continue
        own = float(np.exp(tree.scores[node]))
        both = (own + said.get(int(tree.tokens[node]), 0.0)) / 2.0
        shift[node] = np.log(max(both, 1e-9)) - tree.scores[node]
    moved = np.minimum(tree.scores + shift, np.float32(0.0))
    return replace(tree, scores=moved)
