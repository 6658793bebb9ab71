"""Self-speculation that sees pages of what is far: which, of whose attention, at what cost."""

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
from mmspec.core.errors import ConfigError
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.engine.build import build_drafters
from mmspec.longctx import self_window
from mmspec.model.load import load_target, locate
from mmspec.text.near import WHOLE, View, near_reading
from mmspec.text.spots import Grove, Home
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


def test_a_short_text_is_seen_whole_and_a_long_one_without_pages_until_it_was_verified():
    mind, toy = drafter(window=20, pages=2, page=4), Markov()
    short, long = text("short", length=25), text("long", length=90)
    prefill(mind, [short, long], toy)
    seen = mind.drafter
    assert short.cached <= 2 * (4 + 20 + 2 * 4) < long.cached
    assert seen.view(short) is WHOLE
    assert seen.view(long) is None
    step(mind, [long], [Budget(12, 4)], toy)
    assert len(seen.view(long).far) == 8
    assert drafter(window=8).drafter.view(long) is None
    assert drafter(window=8).needs.queries == ()


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_pages_that_cover_everything_guess_what_the_target_says(name):
    """As deep as may be, at every round but the first: what it sees is all there is."""
    target = tiny.target(name)
    for index, asked in enumerate(tiny.prompts(name)):
        loud = engine(target, 1000, window=6)
        ((said, report),) = running.reported(loud, {"a": asked}).values()
        assert said == tiny.greedy(name, index)
        assert report.tau == DEEP["max_depth"] + 1


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "llava", "qwen2_5_vl"])
def test_the_text_is_the_targets_whatever_pages_are_seen(name):
    target = tiny.target(name)
    loud = engine(target, 2, window=10, width=2)
    asked = {str(index): one for index, one in enumerate(tiny.prompts(name))}
    told = running.reported(loud, asked)
    for index in range(len(asked)):
        assert told[str(index)][0] == tiny.greedy(name, index)
        assert told[str(index)][1].drafted > 0
    assert loud.panel._drafters["longctx.self_window"]._pages._held == {}
    noisy = Sampling(temperature=0.9, seed=3, max_tokens=30)
    assert running.run(loud, asked, noisy) == running.run(running.engine(target), asked, noisy)


@pytest.mark.parametrize("name", ["mistral", "phi3"])
def test_a_target_that_nowhere_sees_everything_has_no_pages_to_tell_of(name):
    with pytest.raises(ConfigError, match=r"that see everything are \[\]"):
        engine(tiny.target(name), 2)


def test_nothing_committed_is_written():
    mind, toy = drafter(window=8, pages=2, page=4, width=3), Markov()
    batch = [text(str(index), index) for index in range(3)]
    prefill(mind, batch, toy)
    for _ in range(8):
        for one in batch:
            mind.keep_up(one)
        places = [mind.cache.place(one.id) for one in batch]
        before = mind.cache.store.clone()
        mind.drafter.draft(batch, [Budget(40, 8)] * 3)
        for base, used, free in places:
            held = slice(base, base + used)
            assert torch.equal(before[:, :, :, held], mind.cache.store[:, :, :, held])
            end = slice(base + used + free, base + used + free + 1)
            assert torch.equal(before[:, :, :, end], mind.cache.store[:, :, :, end])
        step(mind, batch, [Budget(12, 4)] * 3, toy)
    assert all(mind.drafter.view(one) is not None for one in batch)
    held = mind.drafter._pages._held.values()
    most = max(sum(part.nbytes for part in one.asked) + one.view.far.nbytes for one in held)
    assert 0 < most <= mind.drafter.room(1) == mind.drafter.room(1 << 20)


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
        options = {"window": 48, "page": 16, "children": 1}
        table = {"longctx": {"self_window": {**options, "pages": pages}}}
        facts = replace(target.facts, pieces=processor.pieces)
        loud = running.engine(target, build_drafters(table, facts), chunk=256, enough=1e9)
        told = running.reported(loud, prompts, sampling)
        assert told["a"][0] == plain["a"]
        tau[pages] = told["a"][1].tau
    assert tau[3] > 1.5 * tau[0]
