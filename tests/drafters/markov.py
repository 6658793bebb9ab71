"""A toy target without a model: what comes next depends on the last token, and now and then not.

Enough of the engine's loop to drive any drafter: prefill in chunks, then draft, walk, commit, tell.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from ranking import Shared, pieces

from mmspec.core.drafter import Budget, Facts, Observation
from mmspec.core.request import Prompt, Request
from mmspec.core.sequence import Sequence

VOCABULARY = 32
STOP, MEDIA = 30, 29
FACTS = Facts(
    vocabulary=VOCABULARY,
    context=4096,
    media_tokens=frozenset({MEDIA}),
    stop_tokens=frozenset({STOP}),
    ranker=lambda _: Shared(),
    pieces=pieces(1024),  # prompts may hold an id beyond the vocabulary
)
TOP = 8
CHANCES = np.log([0.6, 0.15, 0.1, 0.05, 0.02, 0.02, 0.01, 0.01]).astype(np.float32)
CONTEXT = 4
HIDDEN = 16


def sequence(id: str, prompt: list[int] | np.ndarray, **options) -> Sequence:
    """One whose answer is predicted to be its prompt, unless something else is said."""
    ids = np.asarray(prompt, np.int64)
    return Sequence(Request(id, Prompt(ids), **{"prediction": ids, **options}), 0, 0)


def prompt(seed: int, length: int = 60) -> np.ndarray:
    """Repetitive text with a picture, a stop token and the last id of the vocabulary in it."""
    noise = np.random.default_rng(seed)
    phrase = noise.integers(0, 12, 9)
    text = [*phrase, *noise.integers(0, 28, 6)] * (length // 15 + 1)
    text[5:5] = [MEDIA] * 4
    text[15] = STOP
    text[20] = VOCABULARY - 1
    return np.array([*text[:length], *phrase[:3]], np.int64)


class Markov:
    """Ranks successors by a fixed table; sometimes, by position, the second comes first."""

    def __init__(self, seed: int = 0) -> None:
        noise = np.random.default_rng(seed)
        ranked = [noise.permutation(VOCABULARY) for _ in range(VOCABULARY)]
        self.ranked = np.array([row[row != MEDIA] for row in ranked], np.int64)

    def next(self, token: int, position: int) -> int:
        """The token at ``position``, after ``token``."""
        return int(self.ranked[token, 1 if position % 7 == 3 else 0])

    def top(self, tokens: np.ndarray) -> np.ndarray:
        return self.ranked[tokens, :TOP]


def alone(tokens: np.ndarray) -> np.ndarray:
    """Contexts of nodes before which nothing stands."""
    return np.append(np.full((len(tokens), CONTEXT - 1), -1), tokens[:, None], 1)


@functools.cache
def _table(layer: int) -> torch.Tensor:
    return torch.randn(1024, HIDDEN, generator=torch.Generator().manual_seed(layer))


def features(tokens: np.ndarray, layer: int) -> torch.Tensor:
    """What a layer of this target says of its tokens, [C, HIDDEN]: a function of each alone."""
    return _table(layer)[torch.from_numpy(np.array(tokens)) % 1024]


def queries(tokens: np.ndarray, layer: int) -> torch.Tensor:
    """What tokens ask of a layer's keys, [C, 2, 2, 8]: a function of each alone."""
    return 3 * torch.cat([features(tokens, 7 + layer), features(tokens, 8 + layer)], 1).view(
        -1, 2, 2, 8
    )


def observation(
    parts: list[np.ndarray],
    nodes: list[np.ndarray],
    target: Markov,
    layers: tuple[int, ...] = (),
    contexts: list[np.ndarray] | None = None,
    asked: tuple[int, ...] = (),
) -> Observation:
    """What a step showed: cached tokens and verified nodes of each sequence, and those's contexts.

    Where no contexts are given, each node stands alone.
    """
    node_tokens = np.concatenate(nodes)
    cached = np.concatenate(parts)
    return Observation(
        offsets=np.cumsum([0, *map(len, parts)]).astype(np.int32),
        tokens=cached,
        hidden={layer: features(cached, layer) for layer in layers},
        node_offsets=np.cumsum([0, *map(len, nodes)]).astype(np.int32),
        node_tokens=node_tokens,
        top=target.top(node_tokens) if len(node_tokens) else np.zeros((0, 0), np.int64),
        chances=np.tile(CHANCES, (len(node_tokens), 1)),
        contexts=alone(node_tokens) if contexts is None else np.concatenate(contexts),
        queries={layer: queries(cached, layer) for layer in asked},
    )


def prefill(drafter, sequences: list[Sequence], target: Markov, chunk: int = 16) -> None:
    """Cache every prompt chunk by chunk, telling the drafter; decide the first token."""
    nothing = np.zeros(0, np.int64)
    for one in sequences:
        while one.cached < one.prompt_length:
            part = one.tokens[one.cached : one.cached + chunk]
            one.cached += len(part)
            if one.cached == one.prompt_length:
                one.extend(np.array([target.next(one.tokens[-1], len(one))]))
            shown = observation([part], [nothing], target, drafter.needs.layers)
            drafter.observe([one], shown)


def step(drafter, sequences: list[Sequence], budgets: list[Budget], target: Markov) -> list:
    """One round for a batch; returns the trees."""
    trees = drafter.draft(sequences, budgets)
    parts = []
    texts = [one.tokens for one in sequences]
    contexts = [tree.contexts(text, CONTEXT) for tree, text in zip(trees, texts, strict=True)]
    for one, tree in zip(sequences, trees, strict=True):
        node, start = 0, one.cached
        while True:
            token = target.next(int(tree.tokens[node]), len(one))
            one.extend(np.array([token]))
            below = np.flatnonzero((tree.parents == node) & (tree.tokens == token))
            if not len(below):
                break
            node = int(below[0])
        one.cached = len(one) - 1
        parts.append(one.tokens[start : one.cached])
    nodes = [tree.tokens for tree in trees]
    needs = drafter.needs
    shown = observation(parts, nodes, target, needs.layers, contexts, needs.queries)
    drafter.observe(sequences, shown)
    return trees
