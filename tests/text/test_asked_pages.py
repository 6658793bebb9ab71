"""What drafters see of a long text where they are told what the target attended to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drafters import checkpoints, kept
from drafters.markov import FACTS, Markov, prefill, prompt, queries, step
from hypothesis import given
from hypothesis import strategies as st

from mmspec.core.drafter import Budget, Observation
from mmspec.core.errors import ConfigError
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.text import draft_model, eagle
from mmspec.text.asked_pages import Asking, Measures, asked_pages, heaviest
from mmspec.text.near import WHOLE, Near, View
from mmspec.text.spots import Home, chain_spots

PAGES = {"pages": 2, "page": 4, "recent": 8, "sinks": 2}
MODULES = {"text.eagle": eagle, "text.draft_model": draft_model}


def text(id, seed=0, length=60):
    return Sequence(Request(id, Prompt(prompt(seed, length)), Sampling(temperature=0.0)), 0, seed)


class Stored:
    """Keys of one layer, for one sequence."""

    def __init__(self, keys):
        self.keys = keys

    def read(self, sequence, layer):
        return self.keys


def shown(sequence, asked):
    """One step that cached a token which asked this, [Hkv, G, D]."""
    return Observation(
        offsets=np.array([0, 1], np.int32), tokens=sequence.tokens[-2:-1], queries={1: asked[None]}
    )


def paged(cached, page):
    """Pages of a text of which a page's keys are what is asked, and the text."""
    pages = asked_pages("test", Asking(**PAGES, looks=(1,)), kept.target())
    keys = torch.zeros(2, 2, cached, 8)
    keys[0, :, page : page + 4] = 5.0
    pages.borrow(Stored(keys))
    one = text("a", length=cached - 2)  # and three tokens of a phrase
    one.cached = cached
    assert len(one) == cached + 1
    return pages, one


def test_the_page_that_was_asked_for_is_seen_and_half_of_it_counts_for_the_next():
    pages, one = paged(60, 22)
    assert pages.view(one) is WHOLE  # nothing was seen yet
    pages.observe([one], shown(one, torch.ones(2, 2, 8)))
    view = pages.view(one)
    assert view.far.tolist() == [*range(22, 26), *range(26, 30)]
    assert view.start == 60 + 1 - 8
    assert pages.view(one) is view  # worked out once


def test_what_was_asked_is_of_the_last_token_of_this_text_alone():
    pages, one = paged(60, 22)
    pages.observe([one], shown(one, torch.ones(2, 2, 8)))
    other = text("a", seed=3, length=58)  # the same id, used again
    assert pages.view(other) is WHOLE
    one.extend(np.array([4]))  # a token whose cached queries were not shown
    assert pages.view(one) is WHOLE
    one.cached += 1
    assert pages.view(one) is WHOLE
    pages.forget("a/0")
    pages.forget("nobody")
    assert pages.view(one) is WHOLE


def test_short_texts_are_seen_whole():
    pages, one = paged(2 * (2 + 8 + 2 * 4), 2)
    pages.observe([one], shown(one, torch.ones(2, 2, 8)))
    assert pages.view(one) is WHOLE
    assert pages.near([WHOLE, WHOLE]) is None


def test_without_pages_nothing_is_asked_of_the_target():
    pages = asked_pages("test", Asking(), None)
    assert pages.needs.queries == ()
    assert not pages.needs.keys
    assert pages.bytes == 0


def test_layers_that_are_not_there_and_no_target_are_refused():
    with pytest.raises(ConfigError, match="there is none"):
        asked_pages("test", Asking(pages=1), None)
    with pytest.raises(ConfigError, match=r"looks \[7\]"):
        asked_pages("test", Asking(pages=1, looks=(7,)), kept.target())
    assert asked_pages("test", Asking(pages=1), kept.target()).layers == (0, 1, 2)
    assert asked_pages("test", Asking(pages=1), kept.target(), default=1).layers == (1,)


@given(
    st.integers(1, 300), st.integers(0, 8), st.integers(1, 40), st.integers(1, 9),
    st.integers(1, 16), st.integers(0, 99),
)  # fmt: skip
def test_views_are_ascending_and_bounded(count, sinks, window, pages, page, seed):
    measures = Measures(sinks, window, pages, page)
    weight = np.random.default_rng(seed).random(count, np.float32)
    view = heaviest(weight, measures)
    assert (np.diff(view.far) > 0).all()
    assert len(view.far) <= pages * page
    assert all(sinks <= one < view.start for one in view.far.tolist())
    seen = {*range(min(sinks, count)), *view.far.tolist(), *range(view.start, count)}
    assert len(seen) <= measures.most
    if count >= window + sinks:
        assert set(range(count - window + 1, count)) <= seen


@given(st.integers(20, 200), st.integers(1, 16), st.integers(0, 99))
def test_chains_see_what_trees_do_whatever_blocks_they_stand_in(filled, count, seed):
    """Every row of a chain: sinks, what was chosen, its window, those before it, itself."""
    noise = np.random.default_rng(seed)
    start = max(4, filled - 10)
    far = np.sort(noise.choice(np.arange(4, start + 1), min(6, start - 3), replace=False))
    far = far[far < start]
    spots = chain_spots([Home(7, filled)], np.array([count]))
    owner = np.zeros(count, np.int64)
    reading = Near([View(start, far)], 4, 12).reading(spots.layout, owner)
    for row in range(count):
        place = filled + row
        keys = list(range(reading.extra[row], reading.extra_end[row]))
        if reading.window[row] >= 0:
            block = reading.windows[reading.window[row]]
            assert block.first + reading.offset[row] == row
            keys += block.read().tolist()
        tail = spots.layout.path[row, reading.skip[row] : spots.layout.tail[row]]
        keys = [one - 7 for one in [*keys, *tail.tolist()]]
        assert len(set(keys)) == len(keys)
        wanted = {*range(4), *far.tolist(), *range(max(min(start, place - 11), 4), place + 1)}
        assert wanted <= set(keys)
        assert max(keys) == place


@pytest.mark.parametrize("address", MODULES)
def test_what_is_not_seen_does_not_matter_and_what_is_seen_does(address, tmp_path):
    """Its own keys of all other places may be anything: trees stay the same, to the bit."""
    module = MODULES[address]
    options = checkpoints.options(address, tmp_path) | PAGES | {"looks": (0, 1)}
    mind, toy = kept.keep(module.build(module.Config(**options), kept.facts())), Markov()
    one = text("a", 1, 90)
    plain = one.tokens[one.tokens != next(iter(FACTS.media_tokens))]  # no picture: all is read
    one = Sequence(Request("b", Prompt(plain), Sampling(temperature=0.0)), 0, 1)
    prefill(mind, [one], toy)
    for _ in range(12):
        step(mind, [one], [Budget(12, 4)], toy)
    view = mind.drafter._pages.view(one)
    assert len(view.far) == 8
    memory = mind.drafter._memories.of(one) if address != "text.eagle" else None
    store = mind.drafter.store if memory is None else mind.drafter._memories.cache.store[0]
    base = 0 if memory is None else memory.base
    if memory is None:
        base = mind.drafter._memories._held[one.id].base
    (before,) = mind.draft([one], [Budget(12, 4)])
    kept_rows = store.clone()
    last = len(one) - 1
    # A row that reads the text's end sees its window: those near the view's start may be seen.
    unseen = set(range(2, view.start - 20)) - set(view.far.tolist())
    assert len(unseen) > 30
    for places, same in ((sorted(unseen), True), (view.far.tolist(), False)):
        store.copy_(kept_rows)
        slots = torch.tensor(places) + base
        store[:, :, slots] = torch.randn(store[:, :, slots].shape) * 5
        if memory is not None:
            memory.reopen()
        (after,) = mind.draft([one], [Budget(12, 4)])
        equal = before.tokens.tolist() == after.tokens.tolist() and np.array_equal(
            before.scores, after.scores
        )
        assert equal == same, (address, same, last)


def test_queries_of_the_toy_are_of_tokens_alone():
    """What these tests lean on."""
    assert torch.equal(queries(np.array([3, 4]), 1)[1], queries(np.array([4]), 1)[0])
