"""How often what drafters claim comes true: learned online, from attempted guesses alone.

A drafter scores its guesses with chances of its own making: a count share, a softmax, a rate of its
last hits. Trees of several are fused by one scale, so their claims are read on it: a guess falls
into a cell by *who* makes it (the set of drafters that agree on it), how deep it stands, and what
is claimed for it; the cell's chance is a Beta posterior mean whose prior is the claim itself. What
a retrieval drafter knows of match length and count share is in its claim.

Only guesses whose parent was accepted were attempted; all others are censored, and teach nothing.

Axes: S sets of drafters, D depths, B bins of claims, N nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit

SETS, DEPTHS, BINS = 64, 4, 16
REACH = 5.0  # log odds at the outermost bins' far edges
SURE = 0.995  # no guess is surer than this
PRIOR = 6.0  # attempts that a claim is worth
MEMORY = 512.0  # attempts a cell remembers
TRIED, CAME = 0, 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """One tenant's cells; nobody else's text moves them.

    Attributes:
        cells: float32 [S * D * B, 2], decayed counts of guesses tried and come true.
    """

    cells: np.ndarray = field(
        default_factory=lambda: np.zeros((SETS * DEPTHS * BINS, 2), np.float32)
    )

    def learn(self, cells: np.ndarray, parents: np.ndarray, kept: np.ndarray) -> None:
        """Count the attempted guesses of a verified tree.

        Args:
            cells: int32 [N], each node's. parents: int32 [N]. kept: int64, accepted nodes, the
                root first.
        """
        _learn(self.cells, cells, parents, kept)


@njit(cache=True, nogil=True)
def place(sources: int, depth: int, claim: float) -> int:
    """The cell of a guess: who makes it, edges below the root (from 1), claimed chance."""
    # Few sets of drafters ever meet; where two share a row, they share its counts.
    row = sources if sources < SETS else ((sources * 0x9E3779B1) >> 7) % SETS
    level = 0 if depth < 2 else 1 if depth < 4 else 2 if depth < 8 else 3
    claim = min(max(claim, 1e-4), 1.0 - 1e-4)
    bin_ = int((np.log(claim / (1.0 - claim)) + REACH) * (BINS / (2.0 * REACH)))
    return (row * DEPTHS + level) * BINS + min(max(bin_, 0), BINS - 1)


@njit(cache=True, nogil=True)
def chance(cells: np.ndarray, cell: int, claim: float) -> float:
    """The posterior mean of a guess, never 0 nor 1."""
    told = (cells[cell, CAME] + PRIOR * claim) / (cells[cell, TRIED] + PRIOR)
    return min(max(told, 1.0 - SURE), SURE)


@njit(cache=True, nogil=True)
def _learn(counts: np.ndarray, cells: np.ndarray, parents: np.ndarray, kept: np.ndarray) -> None:
    accepted = np.zeros(len(parents), np.bool_)
    for node in kept:
        accepted[node] = True
    fade = np.float32(1.0 - 1.0 / MEMORY)
    for node in range(1, len(parents)):
        if accepted[parents[node]]:
            cell = cells[node]
            counts[cell, TRIED] = counts[cell, TRIED] * fade + np.float32(1.0)
            counts[cell, CAME] = counts[cell, CAME] * fade + np.float32(accepted[node])
