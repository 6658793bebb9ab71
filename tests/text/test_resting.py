"""What rests of texts, against plain lists of what was written."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mmspec.core.errors import CacheFullError
from mmspec.core.request import Prompt
from mmspec.core.sequence import Prefix
from mmspec.model.cache import KVCache, prefix_of
from mmspec.text.resting import SHARE, Note, Resting

SCRATCH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Heavy(Note):
    tensors: tuple[torch.Tensor, ...] = ()

    @property
    def beside(self):
        return self.tensors


class Store:
    """A store of numbers; a text's chunk, two slots, is named by all chunks up to it."""

    def __init__(self, slots=64):
        self.cache = KVCache(
            (1, 1, 1), slots, dtype=torch.float64, device=torch.device("cpu"), chunk=1,
            scratch=SCRATCH,
        )  # fmt: skip
        self.resting = Resting(self.cache)

    def read(self, id, text, first=0, tensors=(), known=None):
        """Begin a text, from what is known of its first ``known`` chunks; returns its note."""
        keys = names(text)
        known = len(text) if known is None else known
        found = self.resting.open(id, 2 * len(text), keys[:known])
        done = 0 if found is None else found.filled // 2
        if found is not None:
            assert self.holds(id, text[:done])
            first = found.first
        base = self.cache.base(id)
        for chunk in range(done, len(text)):
            slots = slice(base + 2 * chunk, base + 2 * chunk + 2)
            self.cache.store[..., slots, 0] = float(hash(text[: chunk + 1]) % 10**9)
            note = Heavy(filled=2 * chunk + 2, first=first, tensors=tensors)
            self.resting.note(id, keys[chunk], note)
        return found

    def holds(self, id, text):
        base = self.cache.base(id)
        said = self.cache.store[0, 0, 0, base : base + 2 * len(text), 0].tolist()
        return said == [
            float(hash(text[: chunk + 1]) % 10**9) for chunk in range(len(text)) for _ in range(2)
        ]

    def check(self):
        """Nobody stands in another's slots; every name leads to who knows; nothing rests twice."""
        held = self.resting
        runs = [*held._flying.values(), *held._resting.values()]
        assert {run.name for run in runs} == set(self.cache._extents)
        spans = sorted((one.base, one.base + one.room) for one in self.cache._extents.values())
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
        named = {(key, run) for run in runs for key in run.notes}
        assert named == {(key, run) for key, all_ in held._holders.items() for run in all_}
        assert held.size == sum(run.size for run in runs) <= held._limit
        for last, run in held._resting.items():
            assert run.last == last
            assert not held._is_covered(run)


def names(text):
    return tuple(text[: end + 1].encode() for end in range(len(text)))


def test_a_text_goes_on_from_one_that_ended():
    store = Store()
    assert store.read("a", "xyz") is None
    store.resting.close("a")
    assert set(store.cache._extents) == {f"resting {b'xyz'.hex()}"}
    assert store.read("b", "xyw", known=2).filled == 4
    assert store.holds("b", "xyw")
    store.check()
    assert store.resting.open("c", 8, names("xw")) is None  # the first alone is not enough
    store.check()


def test_of_two_that_know_the_same_one_rests():
    store = Store()
    for id in "ab":
        store.read(id, "xy", known=0)
    for id in "ab":
        store.resting.close(id)
    store.check()
    assert len(store.cache._extents) == 1
    store.read("c", "xyz")
    assert set(store.cache._extents) == {"c"}  # it knows all that the other did
    store.resting.close("c")
    store.resting.close("c")
    store.check()
    assert b"x" in store.resting
    store.resting.clear()
    assert not store.cache._extents
    assert b"x" not in store.resting


def test_who_missed_the_beginning_gives_way_to_who_did_not():
    store = Store()
    store.read("a", "xy", first=7, known=0)
    store.resting.close("a")
    assert store.read("b", "xyz", known=2).first == 7
    store.resting.close("b")
    store.read("c", "xyz", known=0)
    store.resting.close("c")
    store.check()
    assert store.read("d", "xy").first == 0
    late = Store()
    late.read("c", "xyz", known=0)
    late.resting.close("c")
    late.read("a", "xyz", first=7, known=0)
    late.resting.close("a")
    late.check()
    assert late.read("d", "xyz").first == 0


def test_the_least_recent_goes_first_and_none_for_what_cannot_be():
    store = Store(slots=24)
    for text in ("ab", "cd", "ef"):
        store.read("now", text)
        store.resting.close("now")
    store.read("now", "ab")
    store.resting.close("now")
    with pytest.raises(CacheFullError):
        store.resting.open("huge", 22)
    assert b"cd" in store.resting
    store.resting.open("big", 6)  # where the others were
    assert [key in store.resting for key in (b"cd", b"ef", b"ab")] == [False, False, True]
    with pytest.raises(CacheFullError):
        store.resting.open("more", 21)
    store.check()
    assert not store.resting._resting  # all gave way, in vain: one in flight stood in the way


def test_what_notes_hold_beside_the_store_is_bounded_and_counted_once():
    store = Store(slots=64)
    limit = store.cache.store.nbytes // SHARE
    half = torch.zeros(limit // 2, dtype=torch.uint8)
    store.read("a", "xyz", tensors=(half,))
    assert store.resting.size == limit // 2
    store.resting.close("a")
    store.read("b", "uvw", tensors=(half.clone(),))
    store.resting.close("b")
    assert store.resting.size <= limit
    store.read("c", "rst", tensors=(half.clone(),))
    store.check()
    assert b"xyz" not in store.resting  # the least recent gave way
    store.read("d", "q", tensors=(torch.zeros(limit + 8, dtype=torch.uint8),))
    assert b"q" not in store.resting
    assert b"rst" in store.resting
    for id in "cd":
        store.resting.close(id)
    store.resting.clear()
    assert store.resting.size == 0
    assert not store.cache._extents


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_texts_keep_their_own_slots(seed):
    dice, store, flying = np.random.default_rng(seed), Store(slots=70), {}
    reused = 0
    for turn in range(150):
        if flying and dice.random() < 0.5:
            store.resting.close(flying.pop(dice.choice(sorted(flying)), (None,))[0])
        else:
            text = "".join(dice.choice(list("xy"), int(dice.integers(1, 7))))
            known = int(dice.integers(0, len(text) + 1))
            weights = (torch.zeros(int(dice.integers(0, 40)), dtype=torch.uint8),)
            try:
                note = store.read(f"s{turn}", text, int(dice.integers(0, 2)), weights, known)
            except CacheFullError:
                continue
            reused += note is not None
            flying[f"s{turn}"] = (f"s{turn}", text)
        store.check()
        assert all(store.holds(id, text) for id, text in flying.values())
    assert reused > 10
    for id, _ in flying.values():
        store.resting.close(id)
    store.resting.clear()
    assert not store.cache._extents
    assert store.resting.size == 0


def test_a_prompts_prefix_is_its_whole_chunks_without_the_root():
    ids = np.arange(9)
    assert len(prefix_of(Prompt(ids), 4).keys) == 2
    assert len(prefix_of(Prompt(ids[:8]), 4).keys) == 1
    assert prefix_of(Prompt(ids), None).keys == ()
    prefix = Prefix(4, (b"a", b"b"))
    found = [prefix.upto(tokens) for tokens in (0, 3, 4, 8, 9, 12)]
    assert found == [(), (), (b"a",), (b"a", b"b"), (), ()]
