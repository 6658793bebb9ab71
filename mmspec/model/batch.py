"""Batch: what one forward pass is told. Trees of many sequences, or one prefill chunk.

Axes: T rows, grouped [G, R] at the ``bitwise`` level so that every linear layer sees the same
shape whatever the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmspec_kernels.layout import GRAIN, ChunkLayout, TreeLayout, tail_width
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
    sizes = [len(tree) for tree in trees]
    count = sum(sizes)
    total = -(-count // ROWS) * ROWS if grouped else count
    for sequence, size in zip(sequences, sizes, strict=True):
        cache.reserve(sequence.id, size)
    owners = [
        (size, cache.base(sequence.id), sequence.cached, sequence.position_shift)
        for sequence, size in zip(sequences, sizes, strict=True)
    ]
    rows = np.zeros((5, total), np.int64)
    path = np.zeros((total, tail_width(reach)), np.int32)
    tail = np.zeros(total, np.int32)
    _lay(
        _joined([tree.tokens for tree in trees]),
        _joined([tree.parents for tree in trees]),
        np.array(owners, np.int64),
        reach,
        (rows, path, tail),
    )
    tokens, position, rotary, base, slots = rows
    layout = TreeLayout(
        slots=slots,
        path=path,
        tail=tail,
        position=position,
        base=base,
        rows=ROWS if grouped else min(ROWS, max(sizes)),
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


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    """The arrays one after another; one alone as it is."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


@njit(cache=True, nogil=True)
def _lay(
    tokens: np.ndarray,
    parents: np.ndarray,
    owners: np.ndarray,
    reach: int,
    out: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Fill the rows of a batch in one compiled call: right after the model, wrappers run cold.

    Args:
        tokens, parents: of all trees, one after another; parents count within their tree.
        owners: int64 [B, 4], each tree's size, slot of position 0, tokens cached, rotary shift.
        out: rows (tokens, positions, rotary positions, bases, slots) int64 [5, T], and each row's
            tail: committed slots from its split on, then its ancestors, then itself.
    """
    rows, path, tail = out
    depths = np.zeros(len(tokens), np.int64)
    first = 0
    for index in range(len(owners)):
        size, base, cached, shift = owners[index]
        for row in range(first, first + size):
            if row > first:
                depths[row] = depths[first + parents[row]] + 1
            position = cached + depths[row]
            slot = base + cached + row - first
            rows[0, row], rows[1, row], rows[2, row] = tokens[row], position, position + shift
            rows[3, row], rows[4, row] = base, slot
            start = max(0, (position - reach) // GRAIN * GRAIN)
            committed = cached - start
            for place in range(committed):
                path[row, place] = base + start + place
            tail[row] = committed + depths[row] + 1
            node = row
            for place in range(depths[row] + 1):
                path[row, committed + depths[row] - place] = base + cached + node - first
                node = first + parents[node]
        first += size
