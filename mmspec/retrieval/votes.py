"""Vote trees: continuations that were sampled, each with a weight, drawn together into one tree.

A guess's chance is its parent's, times how far a match of that length is trusted, times its share
of what followed. The likeliest unopened guess is always taken next. Trust is learned from the text
being written alone, so what a tree looks like tells of nobody else.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mmspec.retrieval.automaton import bucket
from mmspec.retrieval.frontier import pop, push

SURE = 0.99  # no guess is surer than this, and none less sure than its complement
RATE = 1.0 / 32.0  # how fast ``trust`` follows the text
# Chance that a text goes on as others did that shared its last tokens, by bucket of their number
# (``automaton.BUCKET``), before anything was seen.
PRIOR = np.array([0.03, 0.2, 0.35, 0.45, 0.5, 0.58, 0.65, 0.75, 0.87, 0.96])


@njit(cache=True, nogil=True)
def arrange(rows: np.ndarray, lengths: np.ndarray, weights: np.ndarray) -> None:
    """Sort continuations in place, so that those that begin alike stand together.

    Args:
        rows: int32 [R, L]; what one segment tells is sorted already.
        lengths: int32 [R].
        weights: float64 [R], how many occurrences each stands for.
    """
    kept = np.empty(rows.shape[1], rows.dtype)
    for index in range(1, len(rows)):
        kept[:] = rows[index]
        length, weight, hole = lengths[index], weights[index], index
        while hole > 0 and _after(rows[hole - 1], lengths[hole - 1], kept, length):
            rows[hole], lengths[hole] = rows[hole - 1], lengths[hole - 1]
            weights[hole] = weights[hole - 1]
            hole -= 1
        if hole < index:
            rows[hole], lengths[hole], weights[hole] = kept, length, weight


@njit(cache=True, nogil=True)
def _after(one: np.ndarray, length: int, other: np.ndarray, other_length: int) -> bool:
    for place in range(min(length, other_length)):
        if one[place] != other[place]:
            return one[place] > other[place]
    return length > other_length


@njit(cache=True, nogil=True)
def _weigh(
    rows: np.ndarray, lengths: np.ndarray, weights: np.ndarray, span: tuple[int, int], depth: int
) -> float:
    """Occurrences that go on for more than ``depth`` tokens."""
    total = 0.0
    for row in range(span[0], span[1]):
        if lengths[row] > depth:
            total += weights[row]
    return total


@njit(cache=True, nogil=True)
def _run(rows: np.ndarray, lengths: np.ndarray, row: int, end: int, depth: int) -> int:
    """Where the continuations end that carry what ``row`` does at ``depth``."""
    beyond = row + 1
    while beyond < end and lengths[beyond] > depth and rows[beyond, depth] == rows[row, depth]:
        beyond += 1
    return beyond


@njit(cache=True, nogil=True)
def grow(  # compiled: an array an argument
    rows: np.ndarray,
    lengths: np.ndarray,
    weights: np.ndarray,
    match: int,
    trust: np.ndarray,
    stops: np.ndarray,
    shape: tuple[int, int, int, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The tree of the likeliest continuations.

    Args:
        rows: int32 [R, L], arranged.
        lengths: int32 [R].
        weights: float64 [R].
        match: tokens of the match they follow.
        trust: float64 [10], see the module.
        stops: int64 [M], ids below which nothing is guessed.
        shape: the root's token, most nodes with the root, most edges below it, least chance of
            acceptance of a guess.

    Returns:
        tokens int64 [N], parents int32 [N], scores float32 [N], source uint8 [N].
    """
    root, nodes, depth, floor = shape
    tokens, parents = np.full(nodes, root, np.int64), np.full(nodes, -1, np.int32)
    chances, depths = np.ones(nodes), np.zeros(nodes, np.int32)
    room = rows.size + 1  # no more than one guess a sampled token
    keys, order, items = np.empty(room), np.empty(room, np.int32), np.empty((room, 3), np.int32)
    offered, size, count, node = 0, 0, 1, 0
    span = (0, len(rows))
    while count < nodes:
        level = depths[node]
        opened = level < min(depth, rows.shape[1])
        for stop in stops:
            opened = opened and (node == 0 or tokens[node] != stop)
        if opened:
            trusted = min(max(trust[bucket(match + level)], 1.0 - SURE), SURE)
            total = _weigh(rows, lengths, weights, span, level)
            row = span[0]
            while row < span[1]:
                end = row + 1
                if lengths[row] > level:
                    end = _run(rows, lengths, row, span[1], level)
                    votes = _weigh(rows, lengths, weights, (row, end), level)
                    keys[offered] = chances[node] * trusted * votes / total
                    if keys[offered] >= floor:
                        items[offered, 0], items[offered, 1], items[offered, 2] = node, row, end
                        size = push(keys, order, size, offered)
                        offered += 1
                row = end
        if size == 0:
            break
        best = pop(keys, order, size)
        size -= 1
        above, span, node = items[best, 0], (items[best, 1], items[best, 2]), count
        tokens[node], parents[node] = rows[span[0], depths[above]], above
        chances[node], depths[node] = keys[best], depths[above] + 1
        count += 1
    scores = np.log(chances[:count]).astype(np.float32)
    return tokens[:count], parents[:count], scores, np.zeros(count, np.uint8)


@njit(cache=True, nogil=True)
def learn(
    rows: np.ndarray, lengths: np.ndarray, match: int, trust: np.ndarray, coming: np.ndarray
) -> None:
    """Compare arranged continuations with what came, int64 [K], as far as they go together."""
    first, end = 0, len(rows)
    for depth in range(min(len(coming), rows.shape[1])):
        some, low, high = False, end, end
        for row in range(first, end):
            if lengths[row] > depth:
                some = True
                if rows[row, depth] == coming[depth]:
                    low, high = min(low, row), row + 1
        if not some:
            return
        place = bucket(match + depth)
        trust[place] += RATE * ((1.0 if low < end else 0.0) - trust[place])
        if low == end:
            return
        first, end = low, high
