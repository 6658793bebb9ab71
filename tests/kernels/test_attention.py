"""The attention kernels against attention by definition, in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from mmspec_kernels import attention, reference
from mmspec_kernels.compiled import move_rows
from mmspec_kernels.layout import ChunkLayout
from steps import dense, rows, scattered, softmax, step

# Largest error: bfloat16 rounds the result once more, relative to its size.
NEAR = {
    torch.float64: {"atol": 1e-12, "rtol": 0},
    torch.float32: {"atol": 4e-6, "rtol": 0},
    torch.bfloat16: {"atol": 6e-3, "rtol": 1e-2},
}
DTYPES = pytest.mark.parametrize("dtype", NEAR, ids=["fp64", "fp32", "bf16"])
SLIDING = pytest.mark.parametrize("sliding", [None, 1, 24, 70, 200])
SHAPES = [(2, 1, 128), (2, 2, 80), (1, 4, 64), (1, 8, 80)]  # key heads, group, head dim
# Nothing cached, and around the places where splits move and trees cross them.
PREFIXES = (0, 1, 15, 63, 64, 65, 79, 80, 81, 130, 257)


@SLIDING
@pytest.mark.parametrize("nodes", [1, 7, 64])
@DTYPES
def test_trees_in_a_ragged_batch(dtype, nodes, sliding):
    prefixes = PREFIXES if nodes < 64 else (0, 65, 140)
    for (heads, group, dim), grouped in itertools.product(SHAPES, (True, False)):
        one = step(prefixes, nodes, heads=heads, dim=dim, dtype=dtype, grouped=grouped)
        query, key, value = rows(one, heads, group, dim, dtype)
        store = one.cache.store[0]
        for form in (attention, reference):
            untouched = store.clone()
            reading = one.layout.reading(sliding)
            out = form.tree_attention(query, key, value, store, one.layout, reading, dim**-0.5)
            wanted = dense(one, query, key, value, sliding, dim**-0.5)
            torch.testing.assert_close(out.double(), wanted, **NEAR[dtype])
            slots = one.layout.slots[one.layout.tail > 0]
            assert torch.equal(store[0][:, slots].transpose(0, 1), key[: len(slots)])
            assert torch.equal(store[1][:, slots].transpose(0, 1), value[: len(slots)])
            store[:, :, slots] = untouched[:, :, slots]
            torch.testing.assert_close(store, untouched, rtol=0, atol=0, equal_nan=True)


@DTYPES
def test_a_prefix_may_stand_anywhere(dtype):
    """Windows that count along slots of their own: shuffled, and with nothing between them."""
    for heads, group, dim in SHAPES[:2]:
        one = step((0, 65, 257), 7, heads=heads, dim=dim, dtype=dtype)
        query, key, value = rows(one, heads, group, dim, dtype)
        away, reading = scattered(one, one.cache.store[0])
        wanted = dense(one, query, key, value, None, dim**-0.5)
        for form in (attention, reference):
            out = form.tree_attention(
                query, key, value, away.clone(), one.layout, reading, dim**-0.5
            )
            torch.testing.assert_close(out.double(), wanted, **NEAR[dtype])


@DTYPES
def test_a_long_prefix(dtype):
    for sliding, (heads, group, dim) in itertools.product((None, 100), SHAPES[1:3]):
        one = step((1003, 5, 960), 7, heads=heads, dim=dim, dtype=dtype)
        query, key, value = rows(one, heads, group, dim, dtype)
        out = attention.tree_attention(
            query, key, value, one.cache.store[0], one.layout, one.layout.reading(sliding), 0.1
        )
        wanted = dense(one, query, key, value, sliding, 0.1)
        torch.testing.assert_close(out.double(), wanted, **NEAR[dtype])


@SLIDING
@DTYPES
def test_prefill_chunks(dtype, sliding):
    draw = torch.Generator().manual_seed(0)
    for start, count in itertools.product((0, 1, 63, 200), (1, 7, 32, 64)):
        heads, group, dim = SHAPES[(start + count) % 4]
        base, stop = 5, start + count
        store = torch.full((2, heads, stop + 9, dim), float("nan"), dtype=dtype)
        past = torch.randn(2, heads, start, dim, generator=draw).to(dtype)
        store[:, :, base : base + start] = past
        query, key, value = (
            torch.randn(count, wide, dim, generator=draw).to(dtype)
            for wide in (heads * group, heads, heads)
        )
        out = attention.chunk_attention(
            query, key, value, store, ChunkLayout(base, start), sliding, dim**-0.5
        )
        seen = torch.cat([past, torch.stack([key, value]).transpose(1, 2)], dim=2).double()
        here, there = torch.arange(start, stop)[:, None], torch.arange(stop)[None]
        allowed = there <= here
        if sliding is not None:
            allowed &= there > here - sliding
        wanted = softmax(query.double(), seen, allowed, dim**-0.5)
        torch.testing.assert_close(out.double(), wanted, **NEAR[dtype])
        assert torch.equal(store[:, :, base : base + stop].double(), seen)
        assert store[:, :, :base].isnan().all()
        assert store[:, :, base + stop :].isnan().all()


@DTYPES
def test_queries_that_point_one_way_do_not_overflow(dtype):
    """Scores of several hundred: the softmax must be taken relative to its largest."""
    one = step((0, 100), 7, heads=1, dim=64, dtype=dtype)
    query, key, value = rows(one, 1, 2, 64, dtype)
    out = attention.tree_attention(
        query, key, value, one.cache.store[0], one.layout, one.layout.reading(None), 30.0
    )
    wanted = dense(one, query, key, value, None, 30.0)
    worst = {torch.float64: 1e-10, torch.float32: 2e-2, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(out.double(), wanted, atol=worst, rtol=1e-2)


def parts(count, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, 5, generator=draw), torch.randn(count, generator=draw)


def test_merging_is_one_softmax():
    scores, values = torch.randn(6, 9).double(), torch.randn(9, 4).double()
    whole = torch.softmax(scores, -1) @ values
    for cut in range(1, 9):
        left, right = scores[:, :cut], scores[:, cut:]
        joined = reference.merge(
            torch.softmax(left, -1) @ values[:cut], left.logsumexp(-1),
            torch.softmax(right, -1) @ values[cut:], right.logsumexp(-1),
        )  # fmt: skip
        torch.testing.assert_close(joined, whole, atol=1e-14, rtol=0)


@pytest.mark.parametrize("nothing", [-1e30, -1e38, float("-inf")])
def test_a_part_that_saw_nothing_weighs_nothing(nothing):
    (out, lse), (other, _) = parts(7), parts(7, 1)
    nowhere = torch.full_like(lse, nothing)
    assert torch.equal(reference.merge(out, lse, other, nowhere), out)
    torch.testing.assert_close(reference.merge(other, nowhere, out, lse), out)


@pytest.mark.parametrize("shift", [-1e4, -300.0, 5.0, 1e4])
def test_only_the_difference_of_log_sums_counts(shift):
    (out, lse), (other, other_lse) = parts(7), parts(7, 1)
    plain = reference.merge(out.double(), lse.double(), other.double(), other_lse.double())
    moved = reference.merge(
        out.double(), lse.double() + shift, other.double(), other_lse.double() + shift
    )
    torch.testing.assert_close(moved, plain, atol=1e-11, rtol=0)
    torch.testing.assert_close(
        reference.merge(other, other_lse, out, lse), reference.merge(out, lse, other, other_lse)
    )
    assert reference.merge(out.bfloat16(), lse, other.bfloat16(), other_lse).dtype == torch.float32


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint16])
def test_kept_rows_move_up_in_order_whatever_the_overlap(kind):
    dice = np.random.default_rng(0)
    for _ in range(100):
        count = int(dice.integers(1, 20))
        kept = np.flatnonzero(dice.random(count) < dice.random())
        store = dice.integers(0, 60000, (2, 2, 3, 30, 4)).astype(kind)
        wanted = store.copy()
        first = int(dice.integers(0, 10))
        wanted[:, :, :, first : first + len(kept)] = store[:, :, :, first + kept]
        move_rows(store, first + kept, first + np.arange(len(kept)))
        assert np.array_equal(store, wanted)
