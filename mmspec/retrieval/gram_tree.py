"""Trees out of n-gram rows: what a row claims, how far its claims are true, the likeliest guesses.

For a greedy request a token's claim is its mean chance. For a sampled one the target will draw
argmax of log p + G; the row's tokens and all others together compete with log P and the very same
noise, so the row's Gumbel top-k is tried in its order (STAND, arXiv:2506.04708), and a claim is the
softmax of that over ``TAU``.

Claims are then corrected by what became of earlier ones, per length of the row's name and size of
the claim: a mean at temperature 1 is no chance of being the largest.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mmspec.core.noise import gumbel_of, uniform_bits
from mmspec.retrieval.frontier import pop, push
from mmspec.retrieval.grams import MOST, ORDERS, WIDTH, Grams, longest

TAU = 0.5  # how far a row's logarithms stray from the target's: their noise's scale
EDGES = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95])  # between sizes of claims
MIDDLES = np.array([0.01, 0.03, 0.07, 0.15, 0.3, 0.5, 0.7, 0.88, 0.98])
PRIOR = np.array([0.7, 0.8, 0.9])  # of claims that come true, by the length of a row's name
CAME, CLAIMED = 0, 1  # columns of a trust
RATE = 1.0 / 32.0  # how fast trust follows the text
SURE = 0.99
EULER = 0.5772156649015329  # mean of the noise


def new_trust() -> np.ndarray:
    """What came true and what was claimed, by order and size: float64 [3, 9, 2]."""
    trust = np.empty((ORDERS, len(MIDDLES), 2))
    trust[..., CLAIMED] = MIDDLES
    trust[..., CAME] = MIDDLES * PRIOR[:, None]
    return trust


@njit(cache=True, nogil=True)
def claims(grams: Grams, slot: int, heat: np.float32, state: np.uint64, out: np.ndarray) -> None:
    """Chance that each token of a row comes next, before correction, float64 [10] into ``out``.

    Args:
        heat: the temperature; 0: greedy. state: the noise key of the position.
    """
    tokens, chances = grams.tokens[slot], grams.chances[slot]
    if heat == 0:
        out[:] = chances
        return
    rest = max(1.0 - chances.sum(), 1e-6)
    away = np.log(rest) / heat + EULER
    best = away
    for place in range(WIDTH):
        out[place] = -np.inf
        if tokens[place] >= 0 and chances[place] > 0:
            noise = gumbel_of(uniform_bits(state, tokens[place]))
            out[place] = np.log(np.float64(chances[place])) / heat + noise
            best = max(best, out[place])
    total = np.exp((away - best) / TAU)
    for place in range(WIDTH):
        out[place] = np.exp((out[place] - best) / TAU)
        total += out[place]
    out /= total


@njit(cache=True, nogil=True)
def score(  # compiled: an array an argument
    grams: Grams,
    barriers: np.ndarray,
    trust: np.ndarray,
    text: np.ndarray,
    first: int,
    heat: np.float32,
    states: np.ndarray,
) -> None:
    """Compare the rows with what came.

    Args:
        barriers: see ``grams.name``.
        text: int64 [K], of which the tokens from ``first`` on were decided just now.
        heat: the temperature. states: uint64 [K - first], noise keys of their positions.
    """
    context, claimed = np.empty(MOST, np.int64), np.empty(WIDTH)
    for place in range(first, len(text)):
        for back in range(MOST):
            at = place - MOST + back
            context[back] = text[at] if at >= 0 else -1
        order, slot = longest(grams, barriers, context)
        if order < 0:
            continue
        claims(grams, slot, heat, states[place - first], claimed)
        for one in range(WIDTH):
            if claimed[one] > 0:
                entry = trust[order, np.searchsorted(EDGES, claimed[one])]
                came = 1.0 if grams.tokens[slot, one] == text[place] else 0.0
                entry[CAME] += RATE * (came - entry[CAME])
                entry[CLAIMED] += RATE * (claimed[one] - entry[CLAIMED])


@njit(cache=True, nogil=True)
def grow(  # compiled: an array an argument
    grams: Grams,
    barriers: np.ndarray,
    trust: np.ndarray,
    stops: np.ndarray,
    context: np.ndarray,
    heat: np.float32,
    states: np.ndarray,
    shape: tuple[int, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The likeliest guesses after a text.

    Args:
        barriers: see ``grams.name``.
        stops: int64 [M], ids below which nothing is guessed.
        context: int64 [4], the text's last tokens, the root last; -1 where there are fewer.
        heat: the temperature.
        states: uint64 [D], noise keys of the next positions; no guess is more than D edges deep.
        shape: most nodes, the root included; least chance of acceptance of a guess.

    Returns:
        tokens int64 [N], parents int32 [N], scores float32 [N], source uint8 [N].
    """
    nodes, floor = shape
    tokens, parents = np.zeros(nodes, np.int64), np.full(nodes, -1, np.int32)
    chances, depths = np.ones(nodes), np.zeros(nodes, np.int32)
    contexts, claimed = np.empty((nodes, MOST), np.int64), np.empty(WIDTH)
    keys, order = np.empty(nodes * WIDTH), np.empty(nodes * WIDTH, np.int32)
    items = np.empty((nodes * WIDTH, 2), np.int32)  # parent node, token
    offered, size, count, node = 0, 0, 1, 0
    tokens[0], contexts[0] = context[-1], context
    while count < nodes:
        opened = depths[node] < len(states)
        for stop in stops:
            opened = opened and (node == 0 or tokens[node] != stop)
        known, slot = longest(grams, barriers, contexts[node]) if opened else (-1, -1)
        if known >= 0:
            claims(grams, slot, heat, states[depths[node]], claimed)
            for place in range(WIDTH):
                entry = trust[known, np.searchsorted(EDGES, claimed[place])]
                true = claimed[place] * entry[CAME] / max(entry[CLAIMED], 1e-9)
                keys[offered] = chances[node] * min(true, SURE)
                if grams.tokens[slot, place] >= 0 and keys[offered] >= floor:
                    items[offered, 0], items[offered, 1] = node, grams.tokens[slot, place]
                    size = push(keys, order, size, offered)
                    offered += 1
        if size == 0:
            break
        best = pop(keys, order, size)
        size -= 1
        node = count
        tokens[node], parents[node] = items[best, 1], items[best, 0]
        chances[node], depths[node] = keys[best], depths[items[best, 0]] + 1
        contexts[node, :-1] = contexts[parents[node], 1:]
        contexts[node, -1] = tokens[node]
        count += 1
    scores = np.log(chances[:count]).astype(np.float32)
    return tokens[:count], parents[:count], scores, np.zeros(count, np.uint8)


def reached(text: np.ndarray) -> np.ndarray:
    """The last tokens of a text, int64 [4]; -1 where it has fewer.

    >>> reached(np.array([5, 7])).tolist()
    [-1, -1, 5, 7]
    """
    context = np.full(MOST, -1, np.int64)
    near = text[-MOST:]
    context[MOST - len(near) :] = near
    return context
