"""Where the nodes of a whole tree stand in a drafter's store, when it reads all of them at once.

Axes: N nodes, T rows, W widest tail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mmspec_kernels.layout import TreeLayout, split, tail_width

from mmspec.text.spots import REACH, ROWS, Spots

if TYPE_CHECKING:
    from mmspec.core.tree import TokenTree
    from mmspec.text.spots import Home


def tree_spots(home: Home, tree: TokenTree) -> Spots:
    """Scratch slots of all nodes but the root, which is committed: it stands last in ``home``.

    Args:
        tree: at most ``REACH`` deep, with at least one guess.
    """
    count = len(tree) - 1
    total = -(-count // ROWS) * ROWS
    slots, positions, bases = (np.zeros(total, np.int64) for _ in range(3))
    path = np.zeros((total, tail_width(REACH)), np.int32)
    tail = np.zeros(total, np.int32)
    bases[:count], slots[:count] = home.base, home.base + home.filled + np.arange(count)
    positions[:count] = home.filled - 1 + tree.depths()[1:]
    above = tree.parents[1:] - 1
    for row in range(count):
        start = int(split(positions[row : row + 1], REACH)[0])
        own = [row]
        while above[own[-1]] >= 0:
            own.append(int(above[own[-1]]))
        seen = [*range(home.base + start, home.base + home.filled), *slots[own[::-1]]]
        path[row, : len(seen)], tail[row] = seen, len(seen)
    layout = TreeLayout(
        slots=slots, path=path, tail=tail, position=positions, base=bases, rows=ROWS, reach=REACH,
        count=count,
    )  # fmt: skip
    return Spots(slots[:count], positions[:count] + home.start, layout)
