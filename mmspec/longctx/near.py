"""Readings of the near past: rows of a tree that see a window behind them, and a text's first keys.

Attention leans on a text's first tokens whatever they are (StreamingLLM, arXiv:2309.17453), so
what drops them falls apart; what keeps them and a window does not.

Axes: T rows of a layout, F of them nodes of one level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mmspec_kernels.layout import Reading, Window

if TYPE_CHECKING:
    from mmspec_kernels.layout import TreeLayout


def near_reading(
    layout: TreeLayout, owner: np.ndarray, span: int, sinks: int = 0, sliding: int | None = None
) -> Reading:
    """Their last ``span`` keys, their own included, and a text's first ones.

    All rows of a sequence stand at one place, so they see the same of its past and share it as one
    block, whoever stands beside them.

    Args:
        owner: int64 [F], whose row it is; ascending.
        sinks: leading keys that are seen besides. sliding: keys back that a layer sees at all.
    """
    span = span if sliding is None else min(span, sliding)
    total, count = len(layout.slots), len(owner)
    split = layout.path[:, 0].astype(np.int64) - layout.base
    seen = np.maximum(layout.position - span + 1, 0)
    window, offset = np.full(total, -1, np.int32), np.zeros(total, np.int32)
    windows: list[Window] = []
    first_seen = np.full(total, True) if sliding is None else layout.position < sliding
    begin = 0
    while begin < count:
        end = int(np.searchsorted(owner, owner[begin], side="right"))
        base, start, stop = (int(part[begin]) for part in (layout.base, seen, split))
        for first in range(begin, end, layout.rows):
            if stop <= start:
                break
            last, at = min(first + layout.rows, end), min(first, total - layout.rows)
            window[first:last] = len(windows)
            offset[first:last] = np.arange(first, last) - at
            windows.append(Window(at, base + start, base + stop))
        begin = end
    return Reading(
        windows=tuple(windows),
        window=window,
        offset=offset,
        extra=layout.base,
        extra_end=layout.base + np.where(first_seen, np.minimum(sinks, seen), 0),
        skip=np.maximum(seen - split, 0).astype(np.int32),
    )
