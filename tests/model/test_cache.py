"""The cache against a dictionary: whatever happens, sequences keep their own tokens."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mmspec.core.errors import CacheFullError
from mmspec.core.request import Media, Prompt
from mmspec.model.cache import KVCache, chunk_keys

CHUNK, SCRATCH, SLOTS = 4, 3, 60


def cache(slots=SLOTS, dtype=torch.float64, pinned=0):
    return KVCache(
        (2, 1, 2), slots, dtype=dtype, device=torch.device("cpu"), chunk=CHUNK, scratch=SCRATCH,
        pinned=pinned,
    )  # fmt: skip


def write(store, slots, tokens):
    """A token's key is itself, its value its negative, in every layer."""
    values = torch.as_tensor(np.asarray(tokens, np.float64)).to(store.dtype)
    index = torch.as_tensor(slots)
    store[:, 0, :, index] = values[:, None]
    store[:, 1, :, index] = -values[:, None]


def tokens_at(store, base, count):
    found = store[:, :, :, base : base + count]
    assert torch.equal(found[:, 0], -found[:, 1])
    assert (found[:, 0] == found[:1, 0, :, :, :1]).all()
    return found[0, 0, 0, :, 0].tolist()


def keys_of(tokens):
    whole = range(CHUNK, len(tokens) + 1, CHUNK)
    return [hashlib.sha256(repr(tokens[:stop]).encode()).digest() for stop in whole]


class Cache(RuleBasedStateMachine):
    """Opens, writes, keeps, forgets, frees, remembers and matches in any order."""

    def __init__(self):
        super().__init__()
        self.cache = cache(pinned=20)
        self.cache.store.fill_(float("nan"))
        self.room: dict[str, int] = {}
        self.held: dict[str, list[int]] = {}
        self.count = 0

    def some(self, data):
        return data.draw(st.sampled_from(sorted(self.held)))

    @rule(capacity=st.integers(0, 24), prompt=st.integers(0, 2), matching=st.booleans())
    def open(self, capacity, prompt, matching):
        id = f"s{self.count}"
        self.count += 1
        live = sum(self.room.values())
        try:
            self.cache.open(id, capacity)
        except CacheFullError:
            # Only those in flight may stand in the way, and only when they truly do.
            assert self.widest_gap() < capacity + SCRATCH
            return
        assert live + capacity + SCRATCH <= SLOTS
        self.room[id], self.held[id] = capacity + SCRATCH, []
        if matching:
            text = [prompt + 10 * place for place in range(capacity)]
            count = self.cache.match(id, keys_of(text))
            assert count % CHUNK == 0
            self.held[id] = text[:count]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), prompt=st.integers(0, 2), pinned=st.booleans())
    def prefill(self, data, prompt, pinned):
        """A chunk of one of three texts, if the sequence is on that text."""
        id = self.some(data)
        held = self.held[id]
        text = [prompt + 10 * place for place in range(len(held) + CHUNK)]
        if text[: len(held)] != held or len(held) % CHUNK or len(text) + SCRATCH > self.room[id]:
            return
        slots = self.cache.reserve(id, CHUNK)
        write(self.cache.store, slots, text[len(held) :])
        self.cache.commit(id, np.arange(CHUNK))
        self.held[id] = text
        self.cache.remember(id, keys_of(text), pinned)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), count=st.integers(1, 6))
    def guess(self, data, count):
        """A tree of ``count`` nodes, of which some are kept."""
        id = self.some(data)
        free = self.room[id] - len(self.held[id])
        if count > free:
            with pytest.raises(CacheFullError):
                self.cache.reserve(id, count)
            return
        slots = self.cache.reserve(id, count)
        guesses = [1000 + self.count * 10 + node for node in range(count)]
        write(self.cache.store, slots, guesses)
        kept = data.draw(st.lists(st.integers(0, count - 1), unique=True).map(sorted))
        self.cache.commit(id, np.array(kept, np.int64))
        self.held[id] = self.held[id] + [guesses[node] for node in kept]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), count=st.integers(1, SCRATCH))
    def guess_in_vain(self, data, count):
        """What is not committed never happened."""
        id = self.some(data)
        if count <= self.room[id] - len(self.held[id]):
            write(self.cache.store, self.cache.reserve(id, count), [7.5] * count)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free(self, data):
        id = self.some(data)
        self.cache.free(id)
        self.cache.free(id)  # twice is fine
        del self.held[id], self.room[id]

    @rule()
    def forget(self):
        self.cache.clear()

    def edges(self):
        bases = {id: self.cache.base(id) for id in self.held}
        return sorted((base, base + self.room[id]) for id, base in bases.items())

    def widest_gap(self):
        edges = self.edges()
        starts = [0, *(stop for _, stop in edges)]
        stops = [*(start for start, _ in edges), SLOTS]
        return max(stop - start for start, stop in zip(starts, stops, strict=True))

    @invariant()
    def nobody_overlaps(self):
        edges = self.edges()
        for (_, stop), (start, _) in itertools.pairwise(edges):
            assert stop <= start
        assert not edges or (edges[0][0] >= 0 and edges[-1][1] <= SLOTS)
        assert self.cache.used == sum(self.room.values())

    @invariant()
    def everyone_has_their_own_tokens(self):
        for id, held in self.held.items():
            assert tokens_at(self.cache.store, self.cache.base(id), len(held)) == held


TestCache = Cache.TestCase


def remembered(one, id, text, pinned=False):
    one.open(id, len(text))
    write(one.store, one.reserve(id, len(text)), text)
    one.commit(id, np.arange(len(text)))
    one.remember(id, keys_of(text), pinned)
    one.free(id)


def known(one, text):
    """Tokens of a text that the cache still has; looking does not make it young."""
    return CHUNK * sum(key in one._chunks for key in keys_of(text))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_prompt_is_found_again_as_far_as_it_is_the_same(dtype):
    one = cache(dtype=dtype)
    remembered(one, "a", [1, 2, 3, 4, 5, 6, 7, 8])
    one.open("b", 12)
    assert one.match("b", keys_of([1, 2, 3, 4, 5, 6, 7, 9])) == 4
    assert tokens_at(one.store, one.base("b"), 4) == [1, 2, 3, 4]
    one.open("c", 12)
    assert one.match("c", keys_of([9, 2, 3, 4])) == 0
    assert one.match("c", []) == 0
    one.open("d", 12)
    assert one.match("d", keys_of([1, 2, 3, 4, 5, 6, 7, 8])) == 8


def test_remembered_prompts_go_when_room_is_needed_oldest_first():
    one = cache(slots=26)
    old, young = [1] * 8, [2] * 8
    remembered(one, "old", old)
    remembered(one, "young", young)
    one.open("x", 0)
    assert one.match("x", keys_of(old)) == 8  # being read makes it young
    one.free("x")
    remembered(one, "third", [3] * 12)
    one.open("y", 8)
    assert one.match("y", keys_of(young)) == 0


def test_pinned_prompts_outlive_others_but_nobody_in_flight_waits_for_them():
    one = cache(slots=40, pinned=8)
    document, older, younger = [1] * 8, [2] * 8, [3] * 8
    remembered(one, "document", document, pinned=True)
    remembered(one, "older", older)
    remembered(one, "younger", younger)
    one.open("x", 14)  # needs what two of them hold
    assert [known(one, text) for text in (document, older, younger)] == [8, 0, 0]
    one.free("x")
    one.open("z", 37)  # the whole store
    one.free("z")
    assert known(one, document) == 0


def test_pins_keep_to_their_limit_the_least_read_goes_back_among_the_others():
    one = cache(slots=60, pinned=16)
    texts = [[number] * 8 for number in range(3)]
    for number, text in enumerate(texts[:2]):
        remembered(one, f"document {number}", text, pinned=True)
    one.open("y", 8)
    assert one.match("y", keys_of(texts[0])) == 8  # read again, so the other is the least read
    one.free("y")
    remembered(one, "document 2", texts[2], pinned=True)
    remembered(one, "chat", [9] * 12)
    one.open("x", 25)
    assert [known(one, text) for text in texts] == [8, 0, 8]


def test_a_full_cache_says_so_and_is_not_harmed():
    one = cache(slots=20)
    one.open("a", 9)
    write(one.store, one.reserve("a", 9), range(9))
    one.commit("a", np.arange(9))
    with pytest.raises(CacheFullError):
        one.open("b", 6)
    with pytest.raises(CacheFullError):
        one.reserve("a", 4)
    assert tokens_at(one.store, one.base("a"), 9) == list(range(9))
    one.open("c", 5)
    one.free("a")
    one.open("d", 9)
    assert one.used == 20


def picture(digest, start=2):
    return Media(digest, start, 4, {})


def test_the_identity_of_a_chunk_is_everything_before_it_and_its_pictures():
    ids = np.array([1, 2, 9, 9, 9, 9, 3, 4, 5], np.int64)
    keys = chunk_keys(Prompt(ids, (picture("a"),)), 4)
    assert len(keys) == len(set(keys)) == 2
    assert keys == chunk_keys(Prompt(ids.copy(), (picture("a"),)), 4)
    assert not set(keys) & set(chunk_keys(Prompt(ids, (picture("b"),)), 4))
    assert not set(keys) & set(chunk_keys(Prompt(ids), 4))
    later = ids.copy()
    later[7] = 8
    assert chunk_keys(Prompt(later, (picture("a"),)), 4)[0] == keys[0]
    assert chunk_keys(Prompt(later, (picture("a"),)), 4)[1] != keys[1]
    assert not set(keys) & set(chunk_keys(Prompt(ids, (picture("a"),)), 3))
    assert not set(keys) & set(chunk_keys(Prompt(ids, (picture("a"),)), 4, "ann"))
