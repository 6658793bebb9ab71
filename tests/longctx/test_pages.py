"""Self-speculation that looks up what is far: which pages, when, and at what cost in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import running
import tiny
import torch
from drafters import kept
from drafters.markov import Markov, prefill, prompt, step

from mmspec.core.config import ModelConfig
from mmspec.core.drafter import Budget
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.engine.build import build_drafters
from mmspec.longctx import self_window
from mmspec.longctx.pages import Looking, Pages
from mmspec.model.load import load_target, locate
from mmspec.text.asked_pages import Measures
from mmspec.text.near import View, near_reading
from mmspec.text.spots import REACH, Grove, Home
from mmspec.train.data.documents import document

GREEDY = Sampling(temperature=0.0)
DEEP = {"max_depth": 4, "max_nodes": 5, "enough": 1e9}


def drafter(**options):
    loud = {"floor": 1e-9, "least": 0.0, "children": 3, **options}
    return kept.keep(self_window.build(self_window.Config(**loud), kept.facts()))


def text(id, seed=0, length=60):
    return Sequence(Request(id, Prompt(prompt(seed, length)), GREEDY), 0, seed)


def engine(target, pages, **options):
    table = {"children": 1, "floor": 0.0, "least": 0.0, "page": 4, **options, "pages": pages}
    drafters = build_drafters({"longctx": {"self_window": table}}, target.facts)
    return running.engine(target, drafters, **DEEP)


@pytest.mark.parametrize("sliding", [None, 20, 45])
def test_rows_see_sinks_far_pages_the_window_and_themselves(sliding):
    """Every row's keys, one by one; on a layer that slides only what it reaches."""
    homes = [Home(0, 70), Home(200, 40), Home(300, 133)]
    views = [View(50, np.arange(8, 33)), None, View(100, np.array([4, 5, 60, 61, 99]))]
    grove, window, sinks = Grove(homes), 12, 4
    for depth in (1, 2):
        owner = np.arange(3) if depth == 1 else np.array([0, 0, 1, 2, 2])
        parents = np.arange(3) if depth == 1 else np.array([0, 0, 1, 2, 2])
        spots = grove.level(owner, parents, depth)
        reading = near_reading(spots.layout, owner, window, sinks, sliding, views)
        for row, whose in enumerate(owner):
            base, filled = homes[whose].base, homes[whose].filled
            place = filled + depth - 1
            view = views[whose] or View(place + 1, np.zeros(0, int))
            near = range(max(min(view.start, place - window + 1), 0), place + 1)
            seen = {*near, *range(sinks), *view.far.tolist()}
            edge = 0 if sliding is None else place - sliding + 1
            wanted = sorted(base + k for k in seen if k < filled and (k >= edge))
            keys = list(range(reading.extra[row], reading.extra_end[row]))
            if reading.window[row] >= 0:
                block = reading.windows[reading.window[row]]
                assert block.first + reading.offset[row] == row
                keys += block.read().tolist()
            tail = spots.layout.path[row, reading.skip[row] : spots.layout.tail[row]].tolist()
            assert sorted(keys + [k for k in tail if k < base + filled]) == wanted
            assert len([k for k in tail if k >= base + filled]) == depth


def test_the_heaviest_pages_are_taken_and_half_of_a_weight_reaches_the_next():
    pages = Pages(Measures(sinks=4, window=16, pages=2, page=8), refresh=8)
    one = text("a", length=100)
    weight = np.full(80, 0.01, np.float32)
    weight[30] = 1.0  # the page of positions 28 to 35
    weight[70] = 9.0  # in the window
    pages.choose(one, weight)
    view = pages.view(one)
    assert view.start == 80 + 1 - 16
    assert view.far.tolist() == [*range(28, 36), *range(36, 44)]
    assert view.far.nbytes <= pages.bytes == 8 * 2 * 8
    weight[62] = 3.0  # in the last page, which is short
    pages.choose(one, weight)
    assert pages.view(one).far.tolist() == [*range(28, 36), *range(60, 65)]


def test_pages_are_chosen_when_a_text_outgrows_its_window_and_then_now_and_again():
    pages = Pages(Measures(sinks=4, window=16, pages=2, page=8), refresh=8)
    one = text("a", length=40)
    assert not pages.due(one, 4 + 16 - REACH)
    assert pages.due(one, 5 + 16 - REACH)
    pages.choose(one, np.ones(39, np.float32))
    assert pages.due(one, 39)  # of the same text, as often as it is asked
    told = []
    for _ in range(9):
        one.extend(np.array([3]))
        told.append(pages.due(one, 39))
    assert told == [*[False] * 7, True, True]
    again = text("a", length=40)
    assert pages.view(again) is None  # an id used again is another text
    pages.forget(one.id)
    assert pages.view(one) is None
    assert not Pages(Measures(4, 16, 0, 8), 8).due(one, 1000)


def test_a_look_adds_up_the_attention_of_all_heads_and_layers():
    mind, toy = drafter(window=8, pages=2, page=4), Markov()
    batch = [text(str(index), index) for index in range(2)]
    prefill(mind, batch, toy)
    for one in batch:
        mind.keep_up(one)
    keys = mind.drafter._keys
    homes = [Home(*keys.place(one)[:2]) for one in batch]
    looking, dice = Looking(keys, homes, [1]), torch.Generator().manual_seed(0)
    wanted = torch.zeros(homes[1].filled)
    for layer in range(kept.LAYERS):
        query = torch.randn(kept.KV_HEADS, 8, 2, kept.DIM, generator=dice)
        looking(layer, query, 0.3, 5 if layer == 1 else None)
        if layer != 1:  # a layer that slides
            stored = keys.read(batch[1], layer)[0]
            for head in range(kept.KV_HEADS):
                for asked in query[head, 1]:
                    wanted += torch.softmax(stored[head] @ asked * 0.3, 0)
    np.testing.assert_allclose(looking.weights()[0], wanted, rtol=1e-4)


def test_pages_that_cover_everything_guess_what_the_target_says():
    """As deep as may be, at every round; what it sees by pages is what it would see by a window."""
    for name in ("llama", "qwen3"):
        target = tiny.target(name)
        for index, asked in enumerate(tiny.prompts(name)):
            loud = engine(target, 1000, window=6, refresh=7)
            ((said, report),) = running.reported(loud, {"a": asked}).values()
            assert said == tiny.greedy(name, index)
            assert report.tau == DEEP["max_depth"] + 1
    trees = []
    for options in ({"window": 512}, {"window": 6, "pages": 1000, "page": 4, "refresh": 9}):
        mind, one = drafter(**options), text("a", length=90)
        prefill(mind, [one], Markov())
        one.cached = len(one) - 1
        trees.append([mind.draft([one], [Budget(30, 6)])[0]])
        one.extend(np.array([7, 8]))  # the second is drawn from the pages that the first chose
        one.cached += 2
        trees[-1].append(mind.draft([one], [Budget(30, 6)])[0])
    for wide, paged in zip(*trees, strict=True):
        assert np.array_equal(wide.tokens, paged.tokens)
        np.testing.assert_allclose(wide.scores, paged.scores, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text", "phi3", "llava", "qwen2_5_vl"])
def test_the_text_is_the_targets_whatever_pages_are_seen(name):
    target = tiny.target(name)
    loud = engine(target, 2, window=10, refresh=5, width=2)
    asked = {str(index): one for index, one in enumerate(tiny.prompts(name))}
    told = running.reported(loud, asked)
    for index in range(len(asked)):
        assert told[str(index)][0] == tiny.greedy(name, index)
        assert told[str(index)][1].drafted > 0
    assert loud.panel._drafters["longctx.self_window"].pages._held == {}
    noisy = Sampling(temperature=0.9, seed=3, max_tokens=30)
    assert running.run(loud, asked, noisy) == running.run(running.engine(target), asked, noisy)


def test_nothing_committed_is_written_by_a_look():
    mind, toy = drafter(window=8, pages=2, page=4, refresh=4, width=3), Markov()
    batch = [text(str(index), index) for index in range(3)]
    prefill(mind, batch, toy)
    looks = 0
    for _ in range(8):
        for one in batch:
            mind.keep_up(one)
        places = [mind.cache.place(one.id) for one in batch]
        before = mind.cache.store.clone()
        looks += sum(mind.drafter.pages.due(one, one.cached) for one in batch)
        mind.drafter.draft(batch, [Budget(40, 8)] * 3)
        for base, used, free in places:
            held = slice(base, base + used)
            assert torch.equal(before[:, :, :, held], mind.cache.store[:, :, :, held])
            end = slice(base + used + free, base + used + free + 1)
            assert torch.equal(before[:, :, :, end], mind.cache.store[:, :, :, end])
        step(mind, batch, [Budget(12, 4)] * 3, toy)
    assert 3 < looks < 24
    most = max(held.view.far.nbytes for held in mind.drafter.pages._held.values())
    assert 0 < most <= mind.drafter.room(1) == mind.drafter.room(1 << 20) == 8 * 2 * 4


@pytest.mark.slow
@pytest.mark.skipif(not Path(locate("nano")).is_dir(), reason="no bundled model in this checkout")
def test_what_is_copied_from_far_away_is_drafted_with_pages_and_not_without():
    """A section is quoted out of a document twenty times as long as all that is seen."""
    target, processor = load_target(ModelConfig(path="nano", threads=1))
    made, pairs = document(11, 1500)
    (asked, *_) = [pair for pair in pairs if pair.kind == "quote" and "section" in pair.question]
    chat = [{"role": "user", "content": f"{made.text}\n\n{asked.question}"}]
    prompts = {"a": processor.chat(chat, [])}
    sampling = Sampling(temperature=0.0, max_tokens=64)
    plain = running.run(running.engine(target, chunk=256), prompts, sampling)
    tau = {}
    for pages in (0, 3):
        options = {"window": 48, "page": 16, "refresh": 16, "children": 1}
        table = {"longctx": {"self_window": {**options, "pages": pages}}}
        facts = replace(target.facts, pieces=processor.pieces)
        loud = running.engine(target, build_drafters(table, facts), chunk=256, enough=1e9)
        told = running.reported(loud, prompts, sampling)
        assert told["a"][0] == plain["a"]
        tau[pages] = told["a"][1].tau
    assert tau[3] > 1.5 * tau[0]
