"""Batch: what one forward pass is told. Trees of many sequences, or one prefill chunk.

Axes: T rows, grouped [G, R] at the ``bitwise`` level so that every linear layer sees the same
shape whatever the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmspec_kernels.layout import ChunkLayout, TreeLayout, split, tail_width
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree
    from mmspec.model.cache import KVCache

ROWS = 16  # rows a linear layer sees at once at the bitwise level


@dataclass(frozen=True, slots=True)
class Batch:
    """One packed forward pass.

    Attributes:
        tokens: int64 [G, R]; padding rows hold token 0.
        positions: int64 [G, R] or [3, G, R], rotary.
        layout: where rows write and what they read.
        count: rows that are not padding; they come first.
        embeds: [G, R, H] in place of the tokens' own embeddings, where pictures stand; or None.
        deepstack: per early layer, features to add at the rows of ``seen``; or None.
        seen: bool [G, R], rows that are picture placeholders; or None.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    layout: TreeLayout | ChunkLayout
    count: int
    embeds: torch.Tensor | None = None
    deepstack: tuple[torch.Tensor, ...] | None = None
    seen: torch.Tensor | None = None


def pack_trees(
    sequences: ListOf[Sequence],
    trees: ListOf[TokenTree],
    cache: KVCache,
    *,
    reach: int,
    grouped: bool,
    axes: int,
) -> Batch:
    """Lay the trees of many sequences side by side, tree after tree.

    Args:
        sequences: each with exactly one pending token, its tree's root.
        reach: deepest tree allowed, the root's depth being 0.
        grouped: whether rows go in groups of ``ROWS`` (the bitwise level).
        axes: 1, or 3 for M-RoPE.
    """
    sizes = np.array([len(tree) for tree in trees])
    count = int(sizes.sum())
    total = -(-count // ROWS) * ROWS if grouped else count
    bases = np.array([cache.base(sequence.id) for sequence in sequences], np.int64)
    cached = np.array([sequence.cached for sequence in sequences], np.int64)
    shifts = np.array([sequence.position_shift for sequence in sequences], np.int64)
    for sequence, size in zip(sequences, sizes, strict=True):
        cache.reserve(sequence.id, int(size))

    tokens = np.zeros(total, np.int64)
    position = np.zeros(total, np.int64)
    rotary = np.zeros(total, np.int64)
    base = np.zeros(total, np.int64)
    slots = np.zeros(total, np.int64)
    owner = np.repeat(np.arange(len(trees)), sizes)
    tokens[:count] = np.concatenate([tree.tokens for tree in trees])
    depths = np.concatenate([tree.depths() for tree in trees])
    position[:count] = cached[owner] + depths
    rotary[:count] = position[:count] + shifts[owner]
    base[:count] = bases[owner]
    firsts = np.cumsum(sizes) - sizes
    slots[:count] = bases[owner] + cached[owner] + np.arange(count) - firsts[owner]

    path = np.zeros((total, tail_width(reach)), np.int32)
    tail = np.zeros(total, np.int32)
    parents = np.concatenate([tree.parents for tree in trees])
    _fill_paths(
        (parents, firsts[owner], base, cached[owner], split(position, reach), slots), path, tail
    )
    layout = TreeLayout(
        slots=slots,
        path=path,
        tail=tail,
        position=position,
        base=base,
        rows=ROWS if grouped else min(ROWS, int(sizes.max())),
        reach=reach,
        count=count,
    )
    groups = (total // ROWS, ROWS) if grouped else (1, total)
    rope = torch.from_numpy(rotary).view(groups)
    return Batch(
        tokens=torch.from_numpy(tokens).view(groups),
        positions=rope if axes == 1 else rope.expand(axes, *groups),
        layout=layout,
        count=count,
    )


def pack_chunk(sequence: Sequence, stop: int, positions: torch.Tensor, cache: KVCache) -> Batch:
    """The next prefill chunk of one sequence, up to token ``stop``.

    Args:
        positions: rotary positions of the whole prompt, int64 [P] or [3, P].
    """
    start = sequence.cached
    cache.reserve(sequence.id, stop - start)
    return Batch(
        tokens=torch.from_numpy(sequence.tokens[start:stop].copy())[None],
        positions=positions[..., start:stop].unsqueeze(-2),
        layout=ChunkLayout(base=cache.base(sequence.id), start=start),
        count=stop - start,
    )


@njit(cache=True, nogil=True)
def _fill_paths(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    path: np.ndarray,
    tail: np.ndarray,
) -> None:
    """Fill each row's tail: committed slots from its split on, then its ancestors, then itself."""
    parents, firsts, base, cached, split, slots = rows
    for row in range(len(parents)):
        depth = 0
        node = row
        while parents[node] >= 0:
            node = firsts[row] + parents[node]
            depth += 1
        committed = cached[row] - split[row]
        for index in range(committed):
            path[row, index] = base[row] + split[row] + index
        tail[row] = committed + depth + 1
        node = row
        for index in range(depth + 1):
            path[row, committed + depth - index] = slots[node]
            node = firsts[row] + parents[node]
