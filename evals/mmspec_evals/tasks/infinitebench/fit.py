"""Making a prompt of a wished number of tokens in a handful of counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmspec_evals.errors import DataError

Maker = Callable[[int], dict[str, Any]]  # so many units of noise -> a row
TOLERANCE = 0.02
_NEAR = 0.005  # good enough to stop counting
_TRIES = 10
_SAMPLE = 24  # units of the first, cheap count


def fitted(make: Callable[[int], str], tokens: int, count: Callable[[str], int]) -> int:
    """A number of units whose prompt has about ``tokens``: within 2 %, or half a unit.

    The size grows about evenly with the units, so each count tells how many are missing; the whole
    length is tokenised once or twice.

    Args:
        make: the whole prompt with so many units, 1 or more. count: its tokens.

    Raises:
        DataError: one unit is too long already, or counts make no sense.
    """
    sizes: dict[int, int] = {}
    units, rate = _SAMPLE, 0.0
    for _ in range(_TRIES):
        sizes[units] = count(make(units))
        if abs(sizes[units] - tokens) <= _NEAR * tokens:
            return units
        if len(sizes) > 1:
            near, next_ = sorted(sizes, key=lambda n: abs(sizes[n] - tokens))[:2]
            rate = (sizes[next_] - sizes[near]) / (next_ - near)
        rate = rate if rate > 0 else max(1, sizes[units]) / units
        units = max(1, units + round((tokens - sizes[units]) / rate))
        if units in sizes:
            break
    best = min(sizes, key=lambda n: abs(sizes[n] - tokens))
    if abs(sizes[best] - tokens) > max(TOLERANCE * tokens, 1 + rate / 2):
        raise DataError(f"no such prompt has {tokens} tokens; the nearest has {sizes[best]}")
    return best
