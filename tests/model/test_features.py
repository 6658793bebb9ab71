"""Features are kept within their bytes, the least recently used go first, those in use never."""

from __future__ import annotations

import pytest
import torch

from mmspec.model.families.family import Encoded
from mmspec.model.features import FeatureCache

ROW = 4 * 8  # bytes


def encoded(rows, layers=0):
    part = torch.zeros(rows, 8)
    return Encoded(part, (part,) * layers)


def filled(limit):
    cache = FeatureCache(limit)
    for key in "abc":
        cache.add(key, encoded(2), users=0)
    return cache


def test_the_least_recently_used_goes_first():
    cache = filled(6 * ROW)
    assert cache.bytes == 6 * ROW
    assert cache.hold("a")
    cache.release("a")
    cache.add("d", encoded(2), users=0)
    assert [key for key in "abcd" if key in cache] == ["a", "c", "d"]
    cache.add("e", encoded(4), users=0)
    assert [key for key in "abcde" if key in cache] == ["d", "e"]
    assert cache.bytes == 6 * ROW
    assert not cache.hold("a")


def test_one_in_use_never_goes_and_goes_when_it_is_not():
    cache = filled(6 * ROW)
    assert cache.hold("a")
    assert cache.hold("a")
    cache.add("big", encoded(6), users=1)
    assert [key for key in ("a", "b", "c", "big") if key in cache] == ["a", "big"]
    assert cache.bytes == 8 * ROW  # more than the limit, all in use
    cache.release("a")
    assert "a" in cache
    cache.release("a")
    assert "a" not in cache
    assert cache["big"].embeds.shape == (6, 8)


def test_layers_count_and_a_limit_of_nothing_keeps_nothing():
    cache = FeatureCache(0)
    cache.add("a", encoded(2, layers=3), users=1)
    assert cache.bytes == 8 * ROW
    cache.release("a")
    assert cache.bytes == 0
    with pytest.raises(KeyError):
        cache["a"]


def test_clearing_leaves_what_is_in_use():
    cache = filled(100 * ROW)
    cache.hold("b")
    cache.clear()
    assert [key for key in "abc" if key in cache] == ["b"]
    assert cache.bytes == 2 * ROW
