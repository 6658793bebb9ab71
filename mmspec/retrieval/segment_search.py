"""Searching a segment: the longest suffix of a context that it holds, and what followed there.

"A suffix of m tokens occurs" falls from true to false as m grows, so m is doubled until it fails
and then found by bisection, each time with one binary search; REST (He et al. 2023) tries every
length. What followed is sampled evenly over all occurrences, which are sorted by it: the first so
many would be one-sided.

Nothing here trusts the arrays: every index read from one is checked before it is used, so a file
that rots makes worse guesses and nothing worse.
"""

from __future__ import annotations

import numpy as np
from numba import njit

PROBE = 4  # matches are mostly about that long, so this length is asked for first


@njit(cache=True, nogil=True)
def _compare(tokens: np.ndarray, place: int, context: np.ndarray, start: int) -> int:
    """Whether the suffix at ``place`` sorts before (-1) or after (1) ``context[start:]``; 0: with.

    A place outside the tokens, as a rotten file may hold, sorts before everything.
    """
    count = len(tokens)
    if place < 0:
        return -1
    for offset in range(len(context) - start):
        if place + offset >= count:
            return -1
        had, wanted = np.int64(tokens[place + offset]), context[start + offset]
        if had != wanted:
            return -1 if had < wanted else 1
    return 0


@njit(cache=True, nogil=True)
def _bound(
    tokens: np.ndarray,
    order: np.ndarray,
    context: np.ndarray,
    start: int,
    low: int,
    high: int,
    past: int,
) -> int:
    """First of the sorted places in [low, high) that does not sort before (``past``: or with)."""
    while low < high:
        middle = (low + high) >> 1
        if _compare(tokens, order[middle], context, start) < past:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _end(
    tokens: np.ndarray, order: np.ndarray, context: np.ndarray, start: int, first: int, high: int
) -> int:
    """Where in [first, high) the sorted places that go with ``context[start:]`` end.

    In steps that double: there are mostly few, and beside the first.
    """
    step = 1
    while first + step < high and _compare(tokens, order[first + step], context, start) == 0:
        first += step
        step *= 2
    return _bound(tokens, order, context, start, first, min(first + step, high), 1)


@njit(cache=True, nogil=True)
def _range(buckets: np.ndarray, token: int, count: int) -> tuple[int, int]:
    """Where the places that begin with ``token`` lie among the sorted."""
    if len(buckets) == 0:
        return 0, count
    if token < 0 or token + 1 >= len(buckets):
        return 0, 0
    low, high = np.int64(buckets[token]), np.int64(buckets[token + 1])
    if 0 <= low <= high <= count:
        return int(low), int(high)
    return 0, count


@njit(cache=True, nogil=True)
def longest(
    tokens: np.ndarray,
    order: np.ndarray,
    buckets: np.ndarray,
    context: np.ndarray,
    least: int,
) -> tuple[int, int, int]:
    """The longest suffix of ``context`` that occurs, of at least ``least`` tokens.

    Args:
        tokens: of the segment, [N].
        order: of the segment, int32 [N].
        buckets: of the segment, int32 [size + 2] or empty.
        context: int64 [M], the text so far, without separators.
        least: shortest suffix of interest, > 0.

    Returns:
        Its length (0: there is none) and where its occurrences lie in ``order``: [first, end).
    """
    count = min(len(order), len(tokens))
    good, bad = least - 1, len(context) + 1  # lengths known to occur, and not to
    first, most = 0, 0
    probe = max(least, min(PROBE, len(context)))
    while good + 1 < bad:
        start = len(context) - probe
        low, high = _range(buckets, context[start], count)
        found = _bound(tokens, order, context, start, low, high, 0)
        if found < high and _compare(tokens, order[found], context, start) == 0:
            good, first, most = probe, found, high
            probe = (good + bad) >> 1 if bad <= len(context) else 2 * good
        else:
            bad = probe
            probe = (good + bad) >> 1
        probe = min(max(probe, good + 1), len(context))
    if good < least:
        return 0, 0, 0
    return good, first, _end(tokens, order, context, len(context) - good, first, most)


@njit(cache=True, nogil=True)
def occurring(
    tokens: np.ndarray,
    order: np.ndarray,
    buckets: np.ndarray,
    context: np.ndarray,
    length: int,
) -> tuple[int, int, int]:
    """Where the last ``length`` > 0 tokens of ``context`` occur, told as ``longest`` does."""
    count, start = min(len(order), len(tokens)), len(context) - length
    low, high = _range(buckets, context[start], count)
    first = _bound(tokens, order, context, start, low, high, 0)
    end = _end(tokens, order, context, start, first, high)
    return (length, first, end) if end > first else (0, 0, 0)


@njit(cache=True, nogil=True)
def _text_of(starts: np.ndarray, place: int) -> int:
    """Which text a place is in."""
    low, high = 0, len(starts) - 1
    while low < high:
        middle = (low + high + 1) >> 1
        if starts[middle] <= place:
            low = middle
        else:
            high = middle - 1
    return low


@njit(cache=True, nogil=True)
def sample(  # compiled: an array an argument
    tokens: np.ndarray,
    order: np.ndarray,
    starts: np.ndarray,
    dead: np.ndarray,
    match: tuple[int, int, int],
    bars: np.ndarray,
    rows: np.ndarray,
    lengths: np.ndarray,
) -> int:
    """What followed a match, at up to R of its occurrences, spread evenly over them.

    Args:
        tokens: of the segment, [N].
        order: of the segment, int32 [N].
        starts: of the segment, int64 [D + 1].
        dead: of the segment, uint8 [D] or empty.
        match: what ``longest`` found.
        bars: int64 [1 + M], the size of the vocabulary and ids that are never proposed.
        rows: int32 [R, L], filled with continuations.
        lengths: int32 [R], filled with their lengths; where a text or the room ends.

    Returns:
        How many rows were filled; none is empty.
    """
    length, first, end = match
    count, most = len(tokens), min(len(rows), end - first)
    filled, places, heads = 0, np.empty(most, np.int64), np.empty(most, np.int64)
    # They lie far apart: what is asked for at once is waited for together.
    for index in range(most):
        places[index] = order[first + (2 * index + 1) * (end - first) // (2 * most)]
    for index in range(most):
        inside = 0 <= places[index] < count - length
        heads[index] = tokens[places[index] + length] if inside else -1
    for index in range(most):
        place = places[index]
        if heads[index] < 0:
            continue
        if len(dead) > 0:
            text = _text_of(starts, place)
            if text >= len(dead) or dead[text] != 0:
                continue
        size = 0
        while size < rows.shape[1] and place + length + size < count:
            token = np.int64(tokens[place + length + size])
            barred = token < 0 or token >= bars[0]
            for bar in bars[1:]:
                barred = barred or token == bar
            if barred:
                break
            rows[filled, size] = token
            size += 1
        lengths[filled] = size
        filled += size > 0
    return filled


@njit(cache=True, nogil=True)
def tail(tokens: np.ndarray, bars: np.ndarray, most: int) -> int:
    """How many tokens at the end of int64 [C] ``tokens`` no bar is among; at most ``most``."""
    length = 0
    while length < min(most, len(tokens)):
        token = tokens[len(tokens) - 1 - length]
        barred = token < 0 or token >= bars[0]
        for bar in bars[1:]:
            barred = barred or token == bar
        if barred:
            break
        length += 1
    return length
