"""Random steps over a filled cache, and what attention should say of them, in float64.

Slots that hold nothing are NaN, so that a key read by mistake cannot pass unnoticed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from drafting import random_tree
from mmspec_kernels.layout import Reading, TreeLayout, Window

from mmspec.core.drafter import Budget
from mmspec.core.request import Prompt, Request
from mmspec.core.sequence import Sequence
from mmspec.model.batch import pack_trees
from mmspec.model.cache import KVCache

if TYPE_CHECKING:
    from mmspec.core.tree import TokenTree

REACH = 16


@dataclass(frozen=True)
class Step:
    """A packed step: B sequences with ``prefixes`` cached tokens and a tree each."""

    prefixes: tuple[int, ...]
    trees: list[TokenTree]
    layout: TreeLayout
    cache: KVCache
    ids: list[str]


def layout_of(
    prefixes: tuple[int, ...], trees: list[TokenTree], cache: KVCache, *, grouped: bool
) -> TreeLayout:
    """Open each sequence in the cache with its prefix committed, and pack the trees."""
    sequences = []
    for index, prefix in enumerate(prefixes):
        one = Sequence(Request(f"s{index}", Prompt(np.zeros(prefix + 1, np.int64))), 0, 0)
        cache.open(one.id, prefix + 1)
        if prefix:
            cache.reserve(one.id, prefix)
            cache.commit(one.id, np.arange(prefix))
        one.cached = prefix
        sequences.append(one)
    batch = pack_trees(sequences, trees, cache, reach=REACH, grouped=grouped, axes=1)
    assert isinstance(batch.layout, TreeLayout)
    return batch.layout


def step(
    prefixes: tuple[int, ...], nodes: int, *, heads: int = 1, dim: int = 8,
    dtype: torch.dtype = torch.float64, grouped: bool = True, seed: int = 0,
) -> Step:  # fmt: skip
    """Random trees of ``nodes`` nodes after random prefixes."""
    dice = np.random.default_rng([seed, nodes, *prefixes])
    trees = [random_tree(dice, 0, Budget(nodes, REACH), 4) for _ in prefixes]
    room = sum(prefix + 1 + nodes for prefix in prefixes)
    cache = KVCache(
        (1, heads, dim), room, dtype=dtype, device=torch.device("cpu"), chunk=32, scratch=nodes
    )
    layout = layout_of(prefixes, trees, cache, grouped=grouped)
    cache.store.fill_(float("nan"))
    ids = [f"s{index}/0" for index in range(len(prefixes))]
    draw = torch.Generator().manual_seed(seed)
    for id, prefix in zip(ids, prefixes, strict=True):
        here = slice(cache.base(id), cache.base(id) + prefix)
        cache.store[..., here, :] = torch.randn(1, 2, heads, prefix, dim, generator=draw).to(dtype)
    return Step(prefixes, trees, layout, cache, ids)


def scattered(one: Step, store: torch.Tensor) -> tuple[torch.Tensor, Reading]:
    """The store with every prefix at slots of its own, in no order, and the reading that says so.

    Where they stood, and around them, nothing is a number.
    """
    reading = one.layout.reading(None)
    sizes = [window.stop - window.start for window in reading.windows]
    places = np.random.default_rng(0).permutation(2 * sum(sizes))[: sum(sizes)] + store.shape[2]
    more = store.new_full((2, store.shape[1], 2 * sum(sizes), store.shape[3]), float("nan"))
    away, windows = torch.cat([store, more], 2), []
    for window, slots in zip(reading.windows, np.split(places, np.cumsum(sizes)[:-1]), strict=True):
        away[:, :, slots] = store[:, :, window.start : window.stop]
        padded = np.concatenate([[0, 0], slots, [0]])  # what start and stop leave out
        windows.append(Window(window.first, 2, 2 + len(slots), padded))
    tails = np.concatenate(
        [row[:count] for row, count in zip(one.layout.path, one.layout.tail, strict=True)]
    )
    for window in reading.windows:
        away[:, :, np.setdiff1d(np.arange(window.start, window.stop), tails)] = float("nan")
    return away, dataclasses.replace(reading, windows=tuple(windows), placed={})


def dense(
    step: Step, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    sliding: int | None, scale: float,
) -> torch.Tensor:  # fmt: skip
    """Every node over its prefix and its own path, by definition: [T, Hq, D] float64."""
    out = torch.zeros(query.shape, dtype=torch.float64)
    first = 0
    for id, prefix, tree in zip(step.ids, step.prefixes, step.trees, strict=True):
        rows = slice(first, first + len(tree))
        base = step.cache.base(id)
        past = step.cache.store[0, :, :, base : base + prefix].double()
        fresh = torch.stack([key[rows], value[rows]]).double().transpose(1, 2)
        depths = torch.from_numpy(tree.depths().astype(np.int64))
        position = torch.cat([torch.arange(prefix), prefix + depths])
        allowed = torch.cat([torch.ones(len(tree), prefix), _above(tree)], dim=1).bool()
        if sliding is not None:
            allowed &= position[None] > (prefix + depths)[:, None] - sliding
        out[rows] = softmax(query[rows].double(), torch.cat([past, fresh], dim=2), allowed, scale)
        first += len(tree)
    return out


def softmax(
    query: torch.Tensor, seen: torch.Tensor, allowed: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attention by definition: query [T, Hq, D], seen [2, Hkv, S, D], allowed [T, S]."""
    keys, values = seen.repeat_interleave(query.shape[1] // seen.shape[1], dim=1)
    scores = torch.einsum("thd,hsd->hts", query, keys) * scale
    shares = torch.softmax(scores.masked_fill(~allowed, float("-inf")), dim=-1)
    return torch.einsum("hts,hsd->thd", shares, values)


def rows(step: Step, heads: int, group: int, dim: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Queries, keys and values of all rows, padding included."""
    count = len(step.layout.slots)
    draw = torch.Generator().manual_seed(count)
    shapes = [(count, heads * group, dim), (count, heads, dim), (count, heads, dim)]
    return [torch.randn(shape, generator=draw).to(dtype) for shape in shapes]


def _above(tree: TokenTree) -> torch.Tensor:
    seen = torch.eye(len(tree))
    for node in range(1, len(tree)):
        seen[node] += seen[tree.parents[node]]
    return seen
