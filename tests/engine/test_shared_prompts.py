"""Prompts with a shared beginning: who may reuse it, what is kept of it, and how it is read."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from running import CHUNK, engine

from mmspec.core.request import Prompt, Request, Sampling

GREEDY = Sampling(temperature=0.0, max_tokens=6)
DOCUMENT = np.random.default_rng(1).integers(3, 90, 5 * CHUNK + 7)


@pytest.fixture(scope="module")
def target():
    return tiny.target("llama", "bitwise")


def asked(seed, shared=5 * CHUNK + 7):
    question = np.random.default_rng(seed).integers(3, 90, 2 * CHUNK)
    return Prompt(np.concatenate([DOCUMENT, question]), shared=shared)


def answer(one, id, prompt, tenant="", **options):
    """What is said, the tokens found in the cache, and how far the prompt was read at each news."""
    one.submit(Request(id, prompt, GREEDY, tenant=tenant, **options))
    said, found, read = [], 0, []
    while one.busy:
        for delta in one.step():
            assert delta.error is None
            assert not (delta.prefilled and (delta.tokens or delta.finish_reason))
            said += delta.tokens
            found = max(found, delta.cached_tokens)
            read += [delta.prefilled] if delta.prefilled else []
    return said, found, read


def test_tenants_share_no_prompt_and_hear_the_same(target):
    one = engine(target, prefix_cache=True)
    alone, found, _ = answer(one, "a", asked(1), "ann")
    assert found == 0
    assert answer(one, "b", asked(1), "bob")[:2] == (alone, 0)
    assert answer(one, "c", asked(1))[:2] == (alone, 0)
    assert answer(one, "d", asked(1), "ann")[:2] == (alone, 5 * CHUNK)


def test_only_what_is_shared_is_remembered(target):
    one = engine(target, prefix_cache=True)
    answer(one, "a", asked(1))
    assert answer(one, "b", asked(1))[1] == 5 * CHUNK  # of the question nothing
    whole = engine(target, prefix_cache=True)
    answer(whole, "a", asked(1, shared=0))
    assert answer(whole, "b", asked(1, shared=0))[1] == 7 * CHUNK


def test_a_shared_beginning_outlives_other_prompts(target):
    room = 20 * CHUNK * target.bytes_per_token()
    one = engine(target, prefix_cache=True, cache_bytes=room, max_sequences=1)
    answer(one, "document", asked(1))
    for seed in range(8):
        answer(one, f"chat {seed}", Prompt(np.random.default_rng(seed).integers(3, 90, 200)))
    assert answer(one, "again", asked(2))[1] == 5 * CHUNK
    none = engine(target, prefix_cache=True, cache_bytes=room, max_sequences=1, pinned_bytes=0)
    answer(none, "document", asked(1))
    for seed in range(8):
        answer(none, f"chat {seed}", Prompt(np.random.default_rng(seed).integers(3, 90, 200)))
    assert answer(none, "again", asked(2))[1] == 0


def test_a_prompt_tells_how_far_it_is_read_where_asked(target):
    one = engine(target, prefix_cache=True)
    last = len(asked(1).ids) - 1
    whole = [*range(CHUNK, last, CHUNK), last]
    said, _, read = answer(one, "a", asked(1), progress=True)
    assert read == whole
    assert answer(one, "b", asked(1), "else") == (said, 0, [])
    assert answer(one, "c", asked(1), progress=True) == (said, 5 * CHUNK, whole[5:])


def test_choices_tell_it_once(target):
    one = engine(target)
    both = Sampling(temperature=0.0, max_tokens=2, n=2)
    one.submit(Request("a", asked(1), both, progress=True))
    read = []
    while one.busy:
        read += [(delta.choice, delta.prefilled) for delta in one.step() if delta.prefilled]
    assert {choice for choice, _ in read} == {0}
    assert len(read) == len(set(read))
