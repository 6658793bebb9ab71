"""Shortening the long part of a prompt, in its middle, at the borders of its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


def shortened(text: str, offsets: np.ndarray, keep: int) -> str:
    """The first and last of ``keep`` tokens of a text; slices of it, never decoded ids.

    A character that several tokens share is kept whole.

    Args:
        offsets: where each token stands, characters, int64 [T, 2].
        keep: tokens to keep; the first half is the larger one.
    """
    if keep >= len(offsets):
        return text
    if keep <= 0:
        return ""
    head, tail = keep - keep // 2, keep // 2
    end = int(offsets[head - 1, 1])
    start = int(offsets[len(offsets) - tail, 0]) if tail else len(text)
    return text[:end] + text[max(start, end) :]


def shares(lengths: Sequence[int], excess: int) -> list[int]:
    """How many tokens each part keeps when ``excess`` must go, in proportion to its length.

    >>> shares([100, 300], 40)
    [90, 270]
    """
    total = sum(lengths)
    kept = max(0, total - excess)
    return [length * kept // total if total else 0 for length in lengths]
