"""Vote trees: continuations that were sampled, each with a weight, drawn together into one tree.

They come in levels: what followed the longest match, then what followed shorter ones. At every node
the longest is asked first and, with the chance that nothing it says comes, the next (prediction by
partial matching, Cleary and Witten 1984, with exclusion, as in ``quote``). A guess's chance is its
parent's, times how far its level is trusted there, times its share of what that level says. The
likeliest unopened guess is always taken next.

How far a level is trusted is learned, by the length of the match and by how it speaks, from the
texts of one tenant, so what a tree looks like tells of nobody else.

Axes: R continuations, L tokens of each at most, K levels, T ways of speaking.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mmspec.retrieval.automaton import bucket
from mmspec.retrieval.frontier import pop, push

SURE = 0.99  # no guess is surer than this, and none less sure than its complement
RATE = 1.0 / 32.0  # how fast ``trust`` follows the text
# Ways in which a level speaks: one continuation that was seen once; one, seen more often; several;
# and any of a level that is asked because longer matches did not say what comes.
ONCE, SURELY, VARIOUSLY, INSTEAD, SPEECHES = 0, 1, 2, 3, 4
# Chance that what comes is among what a level says, by way of speaking and bucket of the match's
# length (``automaton.BUCKET``), before anything was seen.
PRIOR = np.array(
    [
        [0.03, 0.08, 0.15, 0.2, 0.22, 0.3, 0.3, 0.4, 0.6, 0.9],
        [0.05, 0.2, 0.42, 0.5, 0.65, 0.72, 0.75, 0.85, 0.93, 0.97],
        [0.05, 0.3, 0.5, 0.45, 0.54, 0.55, 0.65, 0.75, 0.85, 0.95],
        [0.05, 0.2, 0.4, 0.35, 0.35, 0.4, 0.4, 0.4, 0.4, 0.4],
    ]
)


@njit(cache=True, nogil=True)
def arrange(rows: np.ndarray, lengths: np.ndarray, weights: np.ndarray) -> None:
    """Sort continuations in place, so that those that begin alike stand together.

    Args:
        rows: int32 [R, L]; what one segment tells is sorted already.
        lengths: int32 [R].
        weights: float64 [R], how many occurrences each stands for.
    """
    order = np.arange(len(rows))
    moved = False
    for row in range(1, len(rows)):
        low, high = row, row
        if _after(rows, lengths, order[row - 1], row):
            low, high, moved = 0, row - 1, True
        while low < high:  # after what is alike, so that equals stay as they stood
            middle = (low + high) >> 1
            if _after(rows, lengths, order[middle], row):
                high = middle
            else:
                low = middle + 1
        for place in range(row, low, -1):
            order[place] = order[place - 1]
        order[low] = row
    if moved:
        was, had, weighed = rows.copy(), lengths.copy(), weights.copy()
        for place in range(len(order)):
            rows[place] = was[order[place]]
            lengths[place], weights[place] = had[order[place]], weighed[order[place]]


@njit(cache=True, nogil=True)
def _after(rows: np.ndarray, lengths: np.ndarray, one: int, other: int) -> bool:
    for place in range(min(lengths[one], lengths[other])):
        if rows[one, place] != rows[other, place]:
            return rows[one, place] > rows[other, place]
    return lengths[one] > lengths[other]


@njit(cache=True, nogil=True)
def _run(rows: np.ndarray, lengths: np.ndarray, row: int, end: int, depth: int) -> int:
    """Where the continuations end that carry what ``row`` does at ``depth``."""
    beyond = row + 1
    while beyond < end and lengths[beyond] > depth and rows[beyond, depth] == rows[row, depth]:
        beyond += 1
    return beyond


@njit(cache=True, nogil=True)
def _hear(  # compiled: an array an argument
    rows: np.ndarray,
    lengths: np.ndarray,
    weights: np.ndarray,
    span: np.ndarray,
    depth: int,
    said: np.ndarray,
    known: int,
    votes: np.ndarray,
) -> tuple[int, float]:
    """What one level says at ``depth`` that is not among the first ``known`` of ``said``.

    Args:
        span: int32 [2], the level's rows that agree so far.
        said: int32 [R], tokens; filled from ``known`` on. votes: float64 [R], likewise.

    Returns:
        How many tokens are in ``said`` now, and the sum of the new ones' votes.
    """
    row, count, total = span[0], known, 0.0
    while row < span[1]:
        beyond = row + 1
        if lengths[row] > depth:
            beyond = _run(rows, lengths, row, span[1], depth)
            heard = False
            for before in range(known):
                heard = heard or said[before] == rows[row, depth]
            if not heard:
                said[count], votes[count] = rows[row, depth], weights[row:beyond].sum()
                total += votes[count]
                count += 1
        row = beyond
    return count, total


@njit(cache=True, nogil=True)
def _narrow(
    rows: np.ndarray,
    lengths: np.ndarray,
    spans: np.ndarray,
    depth: int,
    token: int,
    out: np.ndarray,
) -> None:
    """Of every level's rows, int32 [K, 2], those with ``token`` at ``depth``, into ``out``."""
    for level in range(len(spans)):
        row, end = spans[level, 0], spans[level, 1]
        while row < end and (lengths[row] <= depth or rows[row, depth] != token):
            row += 1
        out[level, 0] = row
        out[level, 1] = _run(rows, lengths, row, end, depth) if row < end else row


@njit(cache=True, nogil=True)
def _speech(first: bool, said: int, total: float) -> int:
    """How a level speaks that says so many tokens."""
    if not first:
        return INSTEAD
    if said > 1:
        return VARIOUSLY
    return SURELY if total > 1.0 else ONCE


@njit(cache=True, nogil=True)
def grow(  # compiled: an array an argument
    rows: np.ndarray,
    lengths: np.ndarray,
    weights: np.ndarray,
    levels: np.ndarray,
    matches: np.ndarray,
    trust: np.ndarray,
    stops: np.ndarray,
    shape: tuple[int, int, int, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The tree of the likeliest continuations.

    Args:
        rows: int32 [R, L], arranged within each level.
        lengths: int32 [R].
        weights: float64 [R].
        levels: int32 [K, 2], each level's rows, the longest match first.
        matches: int32 [K], tokens of the matches they follow.
        trust: float64 [T, 10], see the module.
        stops: int64 [M], ids below which nothing is guessed.
        shape: the root's token, most nodes with the root, most edges below it, least chance of
            acceptance of a guess.

    Returns:
        tokens int64 [N], parents int32 [N], scores float32 [N], source uint8 [N].
    """
    root, nodes, depth, floor = shape
    tokens, parents = np.full(nodes, root, np.int64), np.full(nodes, -1, np.int32)
    chances, depths = np.ones(nodes), np.zeros(nodes, np.int32)
    spans = np.empty((nodes, len(levels), 2), np.int32)
    spans[0] = levels
    room = nodes * len(rows) + 1
    keys, order, items = np.empty(room), np.empty(room, np.int32), np.empty((room, 2), np.int32)
    said, votes = np.empty(len(rows), np.int32), np.empty(len(rows))
    offered, size, count, node = 0, 0, 1, 0
    while count < nodes:
        level_depth, left, known = depths[node], chances[node], 0
        closed = level_depth >= min(depth, rows.shape[1])
        for stop in stops:
            closed = closed or (node > 0 and tokens[node] == stop)
        for level in range(0 if closed else len(levels)):
            if left < floor:
                break
            now, total = _hear(
                rows, lengths, weights, spans[node, level], level_depth, said, known, votes
            )
            if now == known:
                continue
            speech = _speech(known == 0, now - known, total)
            trusted = trust[speech, bucket(matches[level] + level_depth)]
            trusted = min(max(trusted, 1.0 - SURE), SURE)
            for one in range(known, now):
                key = left * trusted * votes[one] / total
                if key >= floor:
                    keys[offered], items[offered, 0], items[offered, 1] = key, node, said[one]
                    size = push(keys, order, size, offered)
                    offered += 1
            left *= 1.0 - trusted
            known = now
        if size == 0:
            break
        best = pop(keys, order, size)
        size -= 1
        above, node = items[best, 0], count
        tokens[node], parents[node], chances[node] = items[best, 1], above, keys[best]
        _narrow(rows, lengths, spans[above], depths[above], items[best, 1], spans[node])
        depths[node] = depths[above] + 1
        count += 1
    scores = np.log(chances[:count]).astype(np.float32)
    return tokens[:count], parents[:count], scores, np.zeros(count, np.uint8)


@njit(cache=True, nogil=True)
def learn(  # compiled: an array an argument
    rows: np.ndarray,
    lengths: np.ndarray,
    weights: np.ndarray,
    levels: np.ndarray,
    matches: np.ndarray,
    trust: np.ndarray,
    coming: np.ndarray,
) -> None:
    """Compare arranged continuations with what came, int64 [C], as far as they go together."""
    spans, below = levels.copy(), levels.copy()
    said, votes = np.empty(len(rows), np.int32), np.empty(len(rows))
    for depth in range(min(len(coming), rows.shape[1])):
        known, came = 0, False
        for level in range(len(spans)):
            now, total = _hear(rows, lengths, weights, spans[level], depth, said, known, votes)
            if now == known:
                continue
            for one in range(known, now):
                came = came or said[one] == coming[depth]
            speech, place = _speech(known == 0, now - known, total), bucket(matches[level] + depth)
            trust[speech, place] += RATE * ((1.0 if came else 0.0) - trust[speech, place])
            known = now
            if came:
                break
        if not came:
            return
        _narrow(rows, lengths, spans, depth, coming[depth], below)
        spans[:] = below
