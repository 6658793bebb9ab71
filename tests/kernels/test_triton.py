"""The Triton twins against attention by definition and against each other's company.

On a machine without CUDA Triton's interpreter runs them (``tests/conftest.py`` asks for it), a few
milliseconds for every block of keys, so the steps here are small.
"""

from __future__ import annotations

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmspec_kernels import attention, reference
from mmspec_kernels.layout import Window, split
from steps import REACH, Step, dense, layout_of, rows, scattered, softmax, step

from mmspec.core.tree import TokenTree
from mmspec.model.cache import KVCache

pytest.importorskip("triton")
from mmspec_kernels import triton_attention, triton_shapes
from mmspec_kernels.triton_attention import Pages

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Largest error. The interpreter cuts bfloat16 off where a GPU rounds it.
NEAR = {
    torch.float32: {"atol": 1e-5, "rtol": 0},
    torch.float16: {"atol": 2e-3, "rtol": 2e-3},
    torch.bfloat16: {"atol": 2e-2, "rtol": 1e-2},
}
DTYPES = pytest.mark.parametrize("dtype", NEAR, ids=["fp32", "fp16", "bf16"])


def attend(form, one, parts, store, sliding, scale):
    """What ``form`` says of a step on the device, [T, Hq, D] on CPU; ``store`` is written."""
    reading = one.layout.reading(sliding)
    there = store.to(DEVICE)
    out = form.tree_attention(
        *(part.to(DEVICE) for part in parts), there, one.layout, reading, scale
    )
    store.copy_(there)
    return out.cpu()


def check(one, heads, group, dim, dtype, sliding, scale=None, near=None):
    scale = dim**-0.5 if scale is None else scale
    parts = rows(one, heads, group, dim, dtype)
    store = one.cache.store[0]
    untouched = store.clone()
    out = attend(triton_attention, one, parts, store, sliding, scale)
    wanted = dense(one, *parts, sliding, scale)
    torch.testing.assert_close(out.double(), wanted, **(near or NEAR[dtype]))
    slots = one.layout.slots[one.layout.tail > 0]
    for side in (0, 1):
        assert torch.equal(store[side][:, slots].transpose(0, 1), parts[1 + side][: len(slots)])
    store[:, :, slots] = untouched[:, :, slots]
    torch.testing.assert_close(store, untouched, rtol=0, atol=0, equal_nan=True)
    theirs = attend(reference, one, parts, untouched.clone(), sliding, scale)
    torch.testing.assert_close(out, theirs, **(near or NEAR[dtype]))


@pytest.mark.parametrize("group", [1, 4, 7, 8])
@DTYPES
def test_trees_in_a_ragged_batch(dtype, group):
    """Nothing cached, one key, no prefix part, and both sides of a split."""
    one = step((0, 1, 63, 128), 7, heads=2, dim=64, dtype=dtype)
    check(one, 2, group, 64, dtype, None)


@pytest.mark.parametrize("sliding", [1, 24, 70, 200])
@DTYPES
def test_sliding_windows_go_by_position(dtype, sliding):
    one = step((0, 65, 150), 7, heads=1, dim=80, dtype=dtype)
    check(one, 1, 2, 80, dtype, sliding)


@pytest.mark.parametrize("prefix", [0, 1, 127, 300])
def test_a_root_alone(prefix):
    """A plain decoding step; with nothing cached the row sees itself only."""
    one = step((prefix,), 1, heads=1, dim=64, dtype=torch.float32, grouped=False)
    check(one, 1, 4, 64, torch.float32, None)


def test_a_row_that_sees_itself_alone_gives_its_value_back():
    one = step((0, 90), 1, heads=2, dim=16, dtype=torch.float32)
    parts = rows(one, 2, 2, 16, torch.float32)
    for sliding, row in ((None, 0), (1, 1)):
        out = attend(triton_attention, one, parts, one.cache.store[0].clone(), sliding, 0.3)
        given = parts[2][row].repeat_interleave(2, dim=0)
        # A GPU takes a float32 apart for its products; put together again it is near itself.
        near = NEAR[torch.float32] if DEVICE.type == "cuda" else {"rtol": 0, "atol": 0}
        torch.testing.assert_close(out[row], given, **near)
        assert not out[2:].any()  # padding


def test_a_wide_tree_and_one_of_several_windows():
    one = step((40, 140), 40, heads=1, dim=32, dtype=torch.float32)
    assert len(one.layout.reading(None).windows) > 2
    check(one, 1, 2, 32, torch.float32, None)


def test_a_prefix_in_more_keys_than_the_least_parts_hold():
    """So that a part is several times as long as it must be."""
    kv_heads = 64
    heads = triton_shapes.Heads(kv_heads, 1, 16, torch.float32)
    one = step((1100,), 1, heads=kv_heads, dim=16, dtype=torch.float32, grouped=False)
    window = one.layout.reading(None).windows[0]
    assert window.stop - window.start > heads.parts * triton_shapes.LEAST
    check(one, kv_heads, 1, 16, torch.float32, None)


@pytest.mark.parametrize("scale", [-30.0, 30.0])
def test_scores_of_several_hundred_do_not_overflow(scale):
    """Also: parts whose log-sum-exps lie far from each other merge."""
    one = step((0, 100), 7, heads=1, dim=64, dtype=torch.float32)
    check(one, 1, 2, 64, torch.float32, None, scale, {"atol": 2e-2, "rtol": 1e-2})


@pytest.mark.parametrize("shift", [-60.0, 60.0])
def test_a_prefix_whose_log_sum_is_shifted(shift):
    """Every prefix key moved along the query: its part weighs e^60 times more, or less."""
    one = step((96,), 5, heads=1, dim=32, dtype=torch.float32)
    query, key, value = rows(one, 1, 1, 32, torch.float32)
    toward = torch.nn.functional.normalize(torch.ones(32), dim=0)
    query += 6.0 * toward
    store = one.cache.store[0]
    base = one.cache.base(one.ids[0])
    store[0, 0, base : base + 96] += toward * shift / 6.0
    wanted = dense(one, query, key, value, None, 1.0)
    out = attend(triton_attention, one, (query, key, value), store, None, 1.0)
    torch.testing.assert_close(out.double(), wanted, atol=1e-4, rtol=1e-4)


def test_log_sum_exps_are_natural_and_parts_lie_where_the_merge_looks():
    """The prefix kernel's own output against torch's."""
    one = step((330,), 2, heads=2, dim=16, dtype=torch.float32)
    parts = rows(one, 2, 2, 16, torch.float32)
    reading = one.layout.reading(None)
    heads = triton_shapes.Heads(2, 2, 16, torch.float32)
    store = one.cache.store[0]
    outs, lses = triton_attention.prefix_parts(
        *(part.to(DEVICE) for part in parts), store.to(DEVICE), one.layout, reading, 0.25
    )
    window = reading.windows[0]
    assert outs.shape == (1, 2, heads.parts, one.layout.rows * 2, 16)
    for part, start in enumerate(range(window.start, window.stop, triton_shapes.LEAST)):
        stop = min(start + triton_shapes.LEAST, window.stop)
        for head, row, g in itertools.product(range(2), range(2), range(2)):
            keys, values = store[:, head, start:stop].double()
            scores = keys @ parts[0][row, head * 2 + g].double() * 0.25
            place = (0, head, part, row * 2 + g)
            torch.testing.assert_close(
                lses[place].double().cpu(), scores.logsumexp(0), atol=1e-5, rtol=0
            )
            torch.testing.assert_close(
                outs[place].double().cpu(), scores.softmax(0) @ values, atol=1e-5, rtol=0
            )


def laid(prefixes, trees, past, index):
    """A grouped step over NaN, with ``past`` [2, Hkv, P, D] cached for one of its sequences."""
    _, heads, _, dim = past.shape
    room = sum(prefix + 20 for prefix in prefixes)
    cache = KVCache(
        (1, heads, dim), room, dtype=past.dtype, device=torch.device("cpu"), chunk=32, scratch=19
    )
    layout = layout_of(prefixes, trees, cache, grouped=True)
    cache.store.fill_(float("nan"))
    for place, prefix in enumerate(prefixes):
        here = slice(base := cache.base(f"s{place}/0"), base + prefix)
        cache.store[0][:, :, here] = past[:, :, :prefix] if place == index else 1.0
    return Step(prefixes, trees, layout, cache, [])


@pytest.fixture
def _rows_alike(monkeypatch):
    """Give the interpreter products whose rows do not depend on their place, as numpy's do.

    A GPU's matrix units need no such help; there the test runs as it is.
    """
    if DEVICE.type == "cuda":
        return
    interpreter = pytest.importorskip("triton.runtime.interpreter")

    def dot(_builder, left, right, total, *_precision):
        sums = (left.data[:, :, None] * right.data[None]).sum(1, dtype=np.float32)
        return interpreter.TensorHandle(sums + total.data, total.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", dot)


@pytest.mark.usefixtures("_rows_alike")
@pytest.mark.parametrize("sliding", [None, 100])
@DTYPES
def test_a_rows_bits_do_not_depend_on_its_company(dtype, sliding):
    """A path of a tree verified beside other sequences, and the same tokens one by one, alone."""
    prefix, heads, group, dim = 302, 1, 4, 32
    draw = torch.Generator().manual_seed(3)
    # The path is 0, 2, 3, 5; positions 302 to 305, whose splits differ.
    tree = dataclasses.replace(
        TokenTree.chain(np.arange(6)), parents=np.array([-1, 0, 0, 2, 2, 3], np.int32)
    )
    path = [0, 2, 3, 5]
    past = torch.randn(2, heads, prefix + 4, dim, generator=draw).to(dtype)
    asked = torch.randn(4, heads * group, dim, generator=draw).to(dtype)
    others = TokenTree.chain(np.zeros(5, np.int64))
    both = laid((70, prefix, 5), [others, tree, others], past, 1)
    assert len({split(p, REACH) for p in both.layout.position[5:11]}) > 1
    parts = rows(both, heads, group, dim, dtype)
    mine = [len(others) + node for node in path]
    parts[0][mine] = asked
    parts[1][mine], parts[2][mine] = past[:, :, prefix:].transpose(1, 2)
    together = attend(triton_attention, both, parts, both.cache.store[0], sliding, 0.2)[mine]
    for node in range(4):
        alone = laid((prefix + node,), [TokenTree.root(0)], past, 0)
        parts = rows(alone, heads, group, dim, dtype)
        parts[0][0] = asked[node]
        parts[1][0], parts[2][0] = past[:, :, prefix + node]
        out = attend(triton_attention, alone, parts, alone.cache.store[0], sliding, 0.2)[0]
        assert torch.equal(out, together[node])


def test_paged_prefixes_give_the_bits_of_contiguous_ones():
    size, dim = 32, 16
    one = step((100, 170), 3, heads=1, dim=dim, dtype=torch.float32)
    parts = rows(one, 1, 2, dim, torch.float32)
    store = one.cache.store[0].clone()
    wanted = attend(triton_attention, one, parts, store.clone(), None, 0.25)
    reading = one.layout.reading(None)
    # Whole pages of each sequence's prefix go, shuffled, behind everything else.
    bases = [int(one.cache.base(id)) for id in one.ids]
    width = max(window.stop - base for window, base in zip(reading.windows, bases, strict=True))
    width = -(-width // size)
    order = np.random.default_rng(0).permutation(2 * width).reshape(2, width)
    first = -(-store.shape[2] // size)
    away = torch.full((2, 1, (first + 2 * width) * size, dim), float("nan"))
    away[:, :, : store.shape[2]] = store
    windows = []
    for index, (window, base) in enumerate(zip(reading.windows, bases, strict=True)):
        for place, page in enumerate(order[index]):
            here = slice(base + place * size, min(base + (place + 1) * size, window.stop))
            if here.start < here.stop:
                to = (first + page) * size
                away[:, :, to : to + here.stop - here.start] = store[:, :, here]
        windows.append(Window(window.first, 0, window.stop - base))
    table = torch.from_numpy((order + first).astype(np.int32)).to(DEVICE)
    paged = dataclasses.replace(reading, windows=tuple(windows), placed={})
    out = triton_attention.tree_attention(
        *(part.to(DEVICE) for part in parts), away.to(DEVICE), one.layout, paged, 0.25,
        Pages(table, size),
    )  # fmt: skip
    assert torch.equal(out.cpu(), wanted)


def test_a_prefix_may_stand_anywhere():
    """Windows that count along slots of their own, beside one that need not."""
    one = step((100, 170, 0), 3, heads=1, dim=16, dtype=torch.float32)
    query, key, value = (part.to(DEVICE) for part in rows(one, 1, 2, 16, torch.float32))
    store = one.cache.store[0]
    away, reading = scattered(one, store)
    wanted = dense(one, query.cpu(), key.cpu(), value.cpu(), None, 0.25)
    windows = one.layout.reading(None).windows
    for changed in (reading.windows, (windows[0], reading.windows[1])):
        held = away.clone()
        held[:, :, windows[0].start : windows[0].stop] = store[
            :, :, windows[0].start : windows[0].stop
        ]
        mixed = dataclasses.replace(reading, windows=changed, placed={})
        out = triton_attention.tree_attention(
            query, key, value, held.to(DEVICE), one.layout, mixed, 0.25
        )
        torch.testing.assert_close(out.double().cpu(), wanted, **NEAR[torch.float32])


@pytest.mark.parametrize("sliding", [None, 1, 40])
@DTYPES
def test_prefill_chunks(dtype, sliding):
    draw = torch.Generator().manual_seed(0)
    for past, count, group, dim in ((0, 1, 4, 64), (0, 33, 2, 80), (70, 32, 1, 64)):
        seen = torch.randn(2, 2, past + count, dim, generator=draw).to(dtype)
        query = torch.randn(count, 2 * group, dim, generator=draw).to(dtype)
        # As a view of a longer store, the way prefill passes it.
        store = torch.full((2, 2, past + count + 9, dim), float("nan"), dtype=dtype)
        store[:, :, 5 : 5 + past + count] = seen
        view = store.to(DEVICE)[:, :, 5 : 5 + past + count]
        out = triton_attention.chunk_attention(query.to(DEVICE), view, past, sliding, dim**-0.5)
        here, there = torch.arange(past, past + count)[:, None], torch.arange(past + count)
        allowed = there <= here
        if sliding is not None:
            allowed &= there > here - sliding
        wanted = softmax(query.double(), seen.double(), allowed, dim**-0.5)
        torch.testing.assert_close(out.double().cpu(), wanted, **NEAR[dtype])


def test_rows_on_cuda_come_here_unless_they_are_float64():
    def there(dtype):
        return attention._twin(SimpleNamespace(is_cuda=True, dtype=dtype))

    assert all(there(dtype) is triton_attention for dtype in triton_attention.TYPES)
    assert there(torch.float64) is reference


def test_what_the_kernels_do_not_know_is_refused():
    one = step((3,), 1, heads=1, dim=16)
    parts = rows(one, 1, 1, 16, torch.float64)
    with pytest.raises(TypeError, match="float64"):
        attend(triton_attention, one, parts, one.cache.store[0], None, 1.0)
    apart = torch.zeros(4, 2, 16).transpose(0, 1)
    with pytest.raises(ValueError, match="contiguous"):
        triton_attention.chunk_attention(apart, torch.zeros(2, 1, 4, 16), 0, None, 1.0)
