"""Which keys a row reads, and in how many parts: a function of its position and its path alone."""

from __future__ import annotations

import numpy as np
import torch
from drafting import random_tree
from hypothesis import given
from hypothesis import strategies as st
from mmspec_kernels.layout import GRAIN, split, tail_width
from steps import REACH, layout_of

from mmspec.core.drafter import Budget
from mmspec.core.tree import TokenTree
from mmspec.model.cache import KVCache

SLIDING = st.one_of(st.none(), st.integers(1, 300))


@st.composite
def sequences(draw):
    """(prefix, tree) of one to three sequences."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        dice = np.random.default_rng(draw(st.integers(0, 1000)))
        budget = Budget(draw(st.integers(1, 24)), REACH)
        found.append((draw(st.integers(0, 400)), random_tree(dice, 0, budget, 3)))
    return found


def laid(found, grouped):
    prefixes, trees = zip(*found, strict=True)
    room = sum(prefix + 40 for prefix in prefixes)
    cache = KVCache(
        (1, 1, 1), room, dtype=torch.float32, device=torch.device("cpu"), chunk=32, scratch=39
    )
    return layout_of(prefixes, list(trees), cache, grouped=grouped)


def owners(found):
    return [(prefix, tree, node) for prefix, tree in found for node in range(len(tree))]


def path_to(tree, node):
    path = []
    while node >= 0:
        path.append(node)
        node = int(tree.parents[node])
    return path[::-1]


def read(reading, layout, row):
    """Slots a row reads, part by part."""
    tail = layout.path[row, reading.skip[row] : layout.tail[row]].tolist()
    extra = list(range(reading.extra[row], reading.extra_end[row]))
    if reading.window[row] < 0:
        return extra, [], tail
    window = reading.windows[reading.window[row]]
    return extra, list(range(window.start, window.stop)), tail


@given(sequences(), SLIDING, st.booleans())
def test_every_visible_key_is_read_once_in_order(found, sliding, grouped):
    layout = laid(found, grouped)
    reading = layout.reading(sliding)
    for row, (prefix, tree, node) in enumerate(owners(found)):
        base, path = layout.base[row], path_to(tree, node)
        own = layout.slots[row] - node  # slot of the root
        assert own == base + prefix
        keys = [*range(base, base + prefix), *(own + step for step in path)]
        visible = keys if sliding is None else keys[-sliding:]
        assert [slot for part in read(reading, layout, row) for slot in part] == visible
    rest = slice(len(owners(found)), None)
    assert not layout.tail[rest].any()
    assert (reading.window[rest] == -1).all()


@given(sequences(), SLIDING, st.booleans())
def test_windows_hold_the_rows_that_read_them(found, sliding, grouped):
    layout = laid(found, grouped)
    reading = layout.reading(sliding)
    for window in reading.windows:
        assert 0 <= window.first <= len(layout.slots) - layout.rows
        assert window.start < window.stop  # an empty block would kill the process
    for row in np.flatnonzero(reading.window >= 0):
        assert 0 <= reading.offset[row] < layout.rows
        assert reading.windows[reading.window[row]].first + reading.offset[row] == row


@given(sequences(), sequences(), SLIDING, st.integers(0, 400))
def test_the_prefix_part_is_a_function_of_position_alone(found, others, sliding, start):
    """The same position, in two steps that have nothing in common, divides its keys alike."""
    chain = TokenTree.chain(np.zeros(9, np.int64))
    sides = []
    for company, tree in ((found, chain), (others, TokenTree.root(0))):
        here = start if len(tree) > 1 else start + 8
        layout = laid([*company, (here, tree)], grouped=True)
        reading = layout.reading(sliding)
        row = sum(len(one) for _, one in company) + len(tree) - 1
        assert layout.position[row] == start + 8
        parts = read(reading, layout, row)
        sides.append([[int(slot - layout.base[row]) for slot in part] for part in parts])
    assert sides[0][:2] == sides[1][:2]
    assert len(sides[0][2]) == len(sides[1][2])


@given(st.integers(0, 5000), st.integers(1, 64))
def test_a_split_never_falls_inside_a_tree(root, reach):
    positions = np.arange(root, root + reach + 1)
    parts = split(positions, reach)
    assert (parts <= root).all()
    assert (parts % GRAIN == 0).all()
    assert (positions - parts < tail_width(reach)).all()
    assert (np.diff(parts) >= 0).all()
