"""What of a text is new: chunks whose ends the text itself sets, each known by a hash.

A chunk ends where a hash of the last few tokens says so (content-defined chunking, Muthitacharoen
et al. 2001), so the same passage is cut alike wherever it stands. Winnowing would say that two
texts share something, at the same price; this also says where, so that it is kept once.
So one answer given a thousand times, or a token said a thousand times, has one vote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW = 8  # tokens that decide whether a chunk ends behind them
LEAST, MEAN, MOST = 16, 64, 256  # tokens of a chunk; MEAN is a power of two
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio


@njit(cache=True, nogil=True)
def _mix(running: np.uint64, token: np.uint64) -> np.uint64:
    running = (running ^ token) * SPREAD
    return running ^ (running >> np.uint64(29))


@njit(cache=True, nogil=True)
def cut(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the chunks of int64 [K] ids, int64 [C], and their hashes, uint64 [C]."""
    ends, hashes = np.empty(len(ids), np.int64), np.empty(len(ids), np.uint64)
    count, start, whole = 0, 0, np.uint64(0)
    for place in range(len(ids)):
        whole = _mix(whole, np.uint64(ids[place]) + np.uint64(1))
        size = place + 1 - start
        ended = size >= MOST or place + 1 == len(ids)
        if size >= LEAST and not ended:
            near = np.uint64(0)
            for other in range(place + 1 - WINDOW, place + 1):
                near = _mix(near, np.uint64(ids[other]) + np.uint64(1))
            ended = near & np.uint64(MEAN - 1) == np.uint64(0)
        if ended:
            ends[count], hashes[count] = place + 1, whole
            count, start, whole = count + 1, place + 1, np.uint64(0)
    return ends[:count], hashes[:count]


def fresh(ids: np.ndarray, known: set[int], overlap: int) -> Iterator[np.ndarray]:
    """The stretches of a text, int64 [K], that hold chunks not known yet; ``known`` learns them.

    Each with ``overlap`` tokens around it, so that a match may lead into it and out of it.
    """
    ends, hashes = cut(ids)
    start, open_from, open_to = 0, -1, -1
    for end, name in zip(ends.tolist(), hashes.tolist(), strict=True):
        if name not in known:
            known.add(name)
            first = max(start - overlap, 0)
            if open_from >= 0 and first > open_to:
                yield ids[open_from:open_to]
                open_from = -1
            open_from = first if open_from < 0 else open_from
            open_to = min(end + overlap, len(ids))
        start = end
    if open_from >= 0:
        yield ids[open_from:open_to]
