"""Rows of n-grams: after the last 4, 3 or 2 tokens, what the target thought of the next one.

STAND (arXiv:2506.04708): a row is the running mean of the target's chances wherever those tokens
stood, of which the 10 largest are kept. The table has a fixed size; in each group of 8 slots the
row that was taught longest ago makes room. Flat arrays, no object a row.

Axes: S slots, T verified nodes, k tokens the target ranked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from mmspec.retrieval.successors import barred

WIDTH = 10  # tokens of a row
LEAST, MOST = 2, 4  # tokens that name a row
ORDERS = MOST - LEAST + 1
WAYS = 8  # slots in which a row may lie
_A, _B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S31, _S29, _S16, _ONE = np.uint64(31), np.uint64(29), np.uint64(16), np.uint64(1)


class Grams(NamedTuple):
    """The table.

    Attributes:
        keys: uint64 [S], which tokens a row is for; 0 marks an empty slot.
        counts: int32 [S], how often a row was taught. stamps: int64 [S], when it last was.
        tokens: int32 [S, 10], the likeliest first; -1 where there are fewer.
        chances: float32 [S, 10], their mean chances.
        clock: int64 [1], lessons so far.
    """

    keys: np.ndarray
    counts: np.ndarray
    stamps: np.ndarray
    tokens: np.ndarray
    chances: np.ndarray
    clock: np.ndarray


def new_grams(slots: int) -> Grams:
    """An empty table; ``slots`` is a power of two, at least 8. Untouched pages are free."""
    return Grams(
        np.zeros(slots, np.uint64), np.zeros(slots, np.int32), np.zeros(slots, np.int64),
        np.zeros((slots, WIDTH), np.int32), np.zeros((slots, WIDTH), np.float32),
        np.zeros(1, np.int64),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def name(barriers: np.ndarray, context: np.ndarray, count: int) -> np.uint64:
    """The key of the last ``count`` tokens of ``context`` int64 [4]; 0: nothing follows those.

    Args:
        barriers: int64 [1 + M], the size of the vocabulary, and ids that no row is made of.
    """
    state = np.uint64(count)
    for token in context[MOST - count :]:
        if barred(barriers, token):
            return np.uint64(0)
        state = (state ^ np.uint64(token)) * _A
        state = (state ^ (state >> _S29)) * _B
        state ^= state >> _S31
    return state | _ONE


@njit(cache=True, nogil=True)
def find(grams: Grams, key: np.uint64) -> int:
    """The slot of a row, or -1."""
    first = _group(grams, key)
    for slot in range(first, first + WAYS):
        if grams.keys[slot] == key:
            return slot
    return -1


@njit(cache=True, nogil=True)
def longest(grams: Grams, barriers: np.ndarray, context: np.ndarray) -> tuple[int, int]:
    """The order (0 of the shortest rows) and slot of the longest row there is, or (-1, -1).

    Args:
        barriers: see :func:`name`. context: int64 [4], the last tokens, -1 where there are fewer.
    """
    for order in range(ORDERS - 1, -1, -1):
        key = name(barriers, context, LEAST + order)
        slot = find(grams, key) if key > 0 else -1
        if slot >= 0:
            return order, slot
    return -1, -1


@njit(cache=True, nogil=True)
def learn(
    grams: Grams, barriers: np.ndarray, contexts: np.ndarray, top: np.ndarray, chances: np.ndarray
) -> None:
    """Take in what the target thought after verified nodes, accepted or not.

    Args:
        barriers: see :func:`name`. contexts: int64 [T, 4] up to each node.
        top: int64 [T, k], likeliest first. chances: float32 [T, k], their log-probabilities.
    """
    for node in range(len(contexts)):
        if np.isnan(chances[node]).any():  # a broken row
            continue
        for count in range(LEAST, MOST + 1):
            key = name(barriers, contexts[node], count)
            if key > 0:
                _teach(grams, _claim(grams, key), barriers, top[node], chances[node])


@njit(cache=True, nogil=True)
def _group(grams: Grams, key: np.uint64) -> int:
    return int(key >> _S16) & (len(grams.keys) - 1) & ~(WAYS - 1)


@njit(cache=True, nogil=True)
def _claim(grams: Grams, key: np.uint64) -> int:
    """The slot of a row; where there is none, the one that has waited longest, emptied."""
    slot = find(grams, key)
    if slot < 0:
        slot = _group(grams, key)
        for other in range(slot + 1, slot + WAYS):
            if grams.stamps[other] < grams.stamps[slot]:
                slot = other
        grams.keys[slot], grams.counts[slot] = key, 0
        grams.tokens[slot], grams.chances[slot] = -1, 0.0
    grams.clock[0] += 1
    grams.stamps[slot] = grams.clock[0]
    return slot


@njit(cache=True, nogil=True)
def _teach(
    grams: Grams, slot: int, barriers: np.ndarray, top: np.ndarray, chances: np.ndarray
) -> None:
    """P <- k / (k + 1) P + p / (k + 1), cut to its 10 largest."""
    tokens, mean = grams.tokens[slot], grams.chances[slot]
    before = grams.counts[slot]
    share = np.float32(1.0 / (before + 1))
    mean *= np.float32(before) * share
    grams.counts[slot] = before + 1
    missing = np.ones(len(top), np.bool_)
    for rank in range(len(top)):
        for place in range(WIDTH):
            if tokens[place] == top[rank]:
                mean[place] += share * np.float32(np.exp(chances[rank]))
                missing[rank] = False
    for rank in range(len(top)):
        if missing[rank] and not barred(barriers, top[rank]):
            place, chance = int(np.argmin(mean)), share * np.float32(np.exp(chances[rank]))
            if chance > mean[place]:
                tokens[place], mean[place] = top[rank], chance
    for one in range(1, WIDTH):  # a few are out of order, most are not
        token, chance, place = tokens[one], mean[one], one
        while place > 0 and mean[place - 1] < chance:
            tokens[place], mean[place] = tokens[place - 1], mean[place - 1]
            place -= 1
        tokens[place], mean[place] = token, chance
