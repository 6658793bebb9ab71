"""Readings of the near past: rows of a tree that see a window behind them, and a text's first keys.

Attention leans on a text's first tokens whatever they are (StreamingLLM, arXiv:2309.17453), so
what drops them falls apart; what keeps them and a window does not. A view may add to them.

Axes: T rows of a layout, F of them nodes of one level, B sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from mmspec_kernels.layout import Reading, Window

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec_kernels.layout import TreeLayout


class View(NamedTuple):
    """What is seen of one sequence besides its first keys, by position.

    Attributes:
        start: everything from here on; less where a row's own window begins earlier.
        far: int64 [K], ascending, what is seen between the first keys and ``start``.
    """

    start: int
    far: np.ndarray


WHOLE = View(0, np.zeros(0, np.int64))


def near_reading(
    layout: TreeLayout, owner: np.ndarray, span: int, sinks: int = 0, sliding: int | None = None,
    views: ListOf[View | None] = (),
) -> Reading:  # fmt: skip
    """Their last ``span`` keys, their own included, and a text's first ones.

    All rows of a sequence stand at one place, so they see the same of its past and share it as one
    block, whoever stands beside them.

    Args:
        owner: int64 [F], whose row it is; ascending.
        sinks: leading keys that are seen besides. sliding: keys back that a layer sees at all.
        views: of each sequence, what is seen besides; None: nothing. Empty: nothing of any.
    """
    total, count = len(layout.slots), len(owner)
    split = layout.path[:, 0].astype(np.int64) - layout.base
    seen = np.maximum(layout.position - span + 1, 0)
    if views:
        starts = np.array([seen.max(initial=0) if one is None else one.start for one in views])
        seen[:count] = np.minimum(seen[:count], starts[owner])
    edge = np.zeros_like(seen) if sliding is None else layout.position - sliding + 1
    seen = np.maximum(seen, edge)
    window, offset = np.full(total, -1, np.int32), np.zeros(total, np.int32)
    windows: list[Window] = []
    begin = 0
    while begin < count:
        end = int(np.searchsorted(owner, owner[begin], side="right"))
        base, start, stop = (int(part[begin]) for part in (layout.base, seen, split))
        view = views[owner[begin]] if views else None
        far = WHOLE.far if view is None else view.far[view.far >= edge[begin]]
        for first in range(begin, end, layout.rows):
            if stop <= start and not len(far):
                break
            last, at = min(first + layout.rows, end), min(first, total - layout.rows)
            window[first:last] = len(windows)
            offset[first:last] = np.arange(first, last) - at
            windows.append(_block(at, base, start, stop, far))
        begin = end
    return Reading(
        windows=tuple(windows),
        window=window,
        offset=offset,
        extra=layout.base,
        extra_end=layout.base + np.where(edge <= 0, np.minimum(sinks, seen), 0),
        skip=np.maximum(seen - split, 0).astype(np.int32),
    )


def _block(at: int, base: int, start: int, stop: int, far: np.ndarray) -> Window:
    """What rows from ``at`` on read together: positions [start, stop), after those that are far."""
    if not len(far):
        return Window(at, base + start, base + stop)
    slots = base + np.concatenate([far, np.arange(start, stop)])
    return Window(at, 0, len(slots), slots)
