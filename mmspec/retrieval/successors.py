"""Successor rows: for a token, the tokens the target ranked highest the last time it stood there.

Token Recycling (Luo et al. 2024), with three changes. The rows of one sequence are its own. They
live in a table of fixed size, newest owner first, so a vocabulary of any size costs the same. And
guesses are ranked by how often each rank was right, per depth and kind of row, not by a template.

A row is int32 [2 + 8]: the token + 1 (0 marks an empty slot), its kind, its successors, best
first, -1 where there are fewer.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mmspec.retrieval.frontier import pop, push

RANKS = 8  # successors of a row
DEPTHS = 4  # depths with a rate of their own; deeper guesses share the last
SEEDED, SHOWN = 0, 1  # kinds: successors read in the prompt, successors the target ranked
KEY, KIND, FIRST = 0, 1, 2  # columns of a row
RATE = 1.0 / 32.0  # how fast the rates follow the text
SURE = 0.99

# Chance that the successor of each rank comes next, per kind, before anything was seen.
PRIOR = np.array(
    [
        [0.25, 0.10, 0.06, 0.04, 0.03, 0.02, 0.015, 0.01],
        [0.40, 0.10, 0.05, 0.03, 0.02, 0.015, 0.01, 0.01],
    ]
)


def new_rows(slots: int) -> np.ndarray:
    """An empty table, int32 [slots, 10]; ``slots`` is a power of two. Untouched pages are free."""
    return np.zeros((slots, FIRST + RANKS), np.int32)


def new_rates() -> np.ndarray:
    """Acceptance by kind, depth and rank: float64 [2, 4, 8]."""
    return np.repeat(PRIOR[:, None, :], DEPTHS, axis=1)


@njit(cache=True, nogil=True)
def barred(barriers: np.ndarray, token: int) -> bool:
    """Entry 0 of ``barriers`` is the size of the vocabulary, the others are ids never guessed."""
    barred = token < 0 or token >= barriers[0]
    for other in barriers[1:]:
        barred = barred or token == other
    return barred


@njit(cache=True, nogil=True)
def seed(rows: np.ndarray, barriers: np.ndarray, tokens: np.ndarray) -> None:
    """Read int64 [K] prompt tokens: each becomes the first successor of the one before it."""
    for place in range(1, len(tokens)):
        token, after = tokens[place - 1], tokens[place]
        if barred(barriers, token) or barred(barriers, after):
            continue
        row = rows[token & (len(rows) - 1)]
        if row[KEY] != token + 1:
            row[KEY], row[KIND] = token + 1, SEEDED
            row[FIRST:] = -1
        rank = FIRST
        while rank < FIRST + RANKS - 1 and row[rank] != after:
            rank += 1
        while rank > FIRST:
            row[rank] = row[rank - 1]
            rank -= 1
        row[FIRST] = after


@njit(cache=True, nogil=True)
def learn(rows: np.ndarray, barriers: np.ndarray, tokens: np.ndarray, top: np.ndarray) -> None:
    """Keep what the target ranked, int64 [T, k], after each of int64 [T] verified tokens."""
    for node in range(len(tokens)):
        token = tokens[node]
        if barred(barriers, token):
            continue
        row = rows[token & (len(rows) - 1)]
        row[KEY], row[KIND] = token + 1, SHOWN
        row[FIRST:] = -1
        rank = FIRST
        for after in top[node]:
            if rank < FIRST + RANKS and not barred(barriers, after):
                row[rank] = after
                rank += 1


@njit(cache=True, nogil=True)
def score(rows: np.ndarray, rates: np.ndarray, run: np.ndarray) -> None:
    """Compare the rows with what came: ``run`` int64 [K], a tree's root and what was accepted.

    The d-th token of a run is seen only when the ones before were accepted, which is what the rate
    of depth d means.
    """
    for place in range(1, len(run)):
        row = rows[run[place - 1] & (len(rows) - 1)]
        if row[KEY] == run[place - 1] + 1:
            rate = rates[row[KIND], min(place, DEPTHS) - 1]
            for rank in range(RANKS):
                right = 1.0 if row[FIRST + rank] == run[place] else 0.0
                rate[rank] += RATE * (right - rate[rank])


@njit(cache=True, nogil=True)
def grow(  # compiled: an array an argument
    rows: np.ndarray,
    rates: np.ndarray,
    stops: np.ndarray,
    root: int,
    nodes: int,
    depth: int,
    floor: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The ``nodes`` likeliest guesses below ``root``, none with less chance than ``floor``.

    Args:
        rows: the table.
        rates: acceptance by kind, depth and rank.
        stops: int64 [M], ids below which nothing is guessed.
        root: the last decided token.
        nodes: most nodes, the root included.
        depth: most edges below the root.
        floor: least chance of acceptance of a guess.

    Returns:
        tokens int64 [N], parents int32 [N], scores float32 [N], source uint8 [N].
    """
    tokens, parents = np.zeros(nodes, np.int64), np.full(nodes, -1, np.int32)
    chances, depths = np.ones(nodes), np.zeros(nodes, np.int32)
    keys, order = np.empty(nodes * RANKS), np.empty(nodes * RANKS, np.int32)
    items = np.empty((nodes * RANKS, 2), np.int32)  # parent node, token
    offered, size, count, node = 0, 0, 1, 0
    tokens[0] = root
    while count < nodes:
        row = rows[tokens[node] & (len(rows) - 1)]
        opened = row[KEY] == tokens[node] + 1 and depths[node] < depth
        for stop in stops:
            opened = opened and (node == 0 or tokens[node] != stop)
        if opened:
            rate = rates[row[KIND], min(depths[node], DEPTHS - 1)]
            for rank in range(RANKS):
                keys[offered] = chances[node] * min(rate[rank], SURE)
                if row[FIRST + rank] >= 0 and keys[offered] >= floor:
                    items[offered, 0], items[offered, 1] = node, row[FIRST + rank]
                    size = push(keys, order, size, offered)
                    offered += 1
        if size == 0:
            break
        best = pop(keys, order, size)
        size -= 1
        node = count
        tokens[node], parents[node] = items[best, 1], items[best, 0]
        chances[node], depths[node] = keys[best], depths[items[best, 0]] + 1
        count += 1
    scores = np.log(chances[:count]).astype(np.float32)
    return tokens[:count], parents[:count], scores, np.zeros(count, np.uint8)
