"""How far two sequences go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def shared_length(one: Sequence[object], two: Sequence[object]) -> int:
    """Leading items that both have in common.

    >>> shared_length([1, 2, 3], [1, 2, 4, 5])
    2
    """
    shorter = min(len(one), len(two))
    return next((at for at in range(shorter) if one[at] != two[at]), shorter)
