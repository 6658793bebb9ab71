"""Readings of the near past: rows of a tree that see a window behind them, and a text's first keys.

Attention leans on a text's first tokens whatever they are (StreamingLLM, arXiv:2309.17453), so
what drops them falls apart; what keeps them and a window does not. A view may add to them.

Axes: T rows of a layout, F of them nodes of one level, B sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from mmspec_kernels.layout import Reading, TreeLayout, Window

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.model.attend import Read
    from mmspec.text.spots import Spots


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

    Rows of a sequence that divide its past alike, as all of one level do, share what they see of it
    as one block, whoever stands beside them: what the first of them sees.

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
        end = begin + int(np.searchsorted(split[begin:end], split[begin], side="right"))
        seen[begin:end] = seen[begin]
        base, start, stop = (int(part[begin]) for part in (layout.base, seen, split))
        view = views[owner[begin]] if views else None
        far = (
            WHOLE.far if view is None else view.far[(view.far >= edge[begin]) & (view.far < start)]
        )
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


class Near(NamedTuple):
    """What rows of many sequences see of their past.

    Attributes:
        views: of each sequence. sinks, span: first and last tokens that are always seen.
    """

    views: ListOf[View]
    sinks: int
    span: int

    def of(self, owner: np.ndarray) -> Near:
        """For these sequences alone, int64 [B], in this order."""
        return self._replace(views=[self.views[one] for one in owner.tolist()])

    def reading(self, layout: TreeLayout, owner: np.ndarray, sliding: int | None = None) -> Reading:
        """Of rows of a tree, or of chains; ``owner`` int64 [F], whose each is."""
        return near_reading(layout, owner, self.span, self.sinks, sliding, self.views)

    def seen(self, spots: Spots, owner: np.ndarray) -> Spots:
        """The same rows, which read this on layers that see everything."""
        assert isinstance(spots.layout, TreeLayout)
        return spots._replace(reading=self.reading(spots.layout, owner))


def reading_by(near: Near | None, spots: Spots, owner: np.ndarray) -> Read | None:
    """What rows of chains or trees read on layers of a sliding width; None: all that they may."""
    if near is None:
        return None
    layout = spots.layout
    assert isinstance(layout, TreeLayout)
    return lambda sliding: near.reading(layout, owner, sliding)


def _block(at: int, base: int, start: int, stop: int, far: np.ndarray) -> Window:
    """What rows from ``at`` on read together: positions [start, stop), after those that are far."""
    if not len(far):
        return Window(at, base + start, base + stop)
    slots = base + np.concatenate([far, np.arange(start, stop)])
    return Window(at, 0, len(slots), slots)
