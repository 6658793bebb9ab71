"""A frontier: the guesses not yet taken, the likeliest first. A binary heap in flat arrays.

A guess is a row of ``items`` and never moves; ``order`` holds row numbers as a heap over ``keys``.
Inside compiled code only; callers allocate the three arrays once per tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

if TYPE_CHECKING:
    import numpy as np


@njit(cache=True, nogil=True)
def push(keys: np.ndarray, order: np.ndarray, size: int, row: int) -> int:
    """Add ``row`` (its key already written) to a heap of ``size`` rows; returns the new size."""
    hole = size
    while hole > 0:
        above = (hole - 1) >> 1
        # On equal keys the row pushed first stays first, so that trees are reproducible.
        if keys[order[above]] >= keys[row]:
            break
        order[hole] = order[above]
        hole = above
    order[hole] = row
    return size + 1


@njit(cache=True, nogil=True)
def pop(keys: np.ndarray, order: np.ndarray, size: int) -> int:
    """Take the likeliest row out of a heap of ``size`` > 0 rows; the heap then holds one fewer."""
    best = order[0]
    size -= 1
    row = order[size]
    hole = 0
    while True:
        below = 2 * hole + 1
        if below >= size:
            break
        if below + 1 < size and keys[order[below + 1]] > keys[order[below]]:
            below += 1
        if keys[order[below]] <= keys[row]:
            break
        order[hole] = order[below]
        hole = below
    order[hole] = row
    return best
