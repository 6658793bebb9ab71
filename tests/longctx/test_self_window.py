"""The target that guesses for itself: by its own formulas, within its window, writing nothing."""

from __future__ import annotations

import numpy as np
import pytest
import running
import tiny
import torch
from drafters import kept
from drafters.markov import FACTS, Markov, prefill, prompt, step

from mmspec.core.drafter import Budget
from mmspec.core.errors import ConfigError
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.longctx import self_window
from mmspec.text.near import near_reading
from mmspec.text.spots import Grove, Home

GREEDY = Sampling(temperature=0.0)


def drafter(**options):
    config = self_window.Config(**{"floor": 1e-9, "least": 0.0, "children": 3, **options})
    return kept.keep(self_window.build(config, kept.facts()))


def text(id, seed=0, length=60):
    return Sequence(Request(id, Prompt(prompt(seed, length)), GREEDY), 0, seed)


@pytest.mark.parametrize(("sinks", "window"), [(4, 512), (4, 20), (0, 9), (2, 1)])
def test_rows_see_sinks_window_and_themselves(sinks, window):
    """Every row's keys, one by one, against what the two numbers say."""
    homes = [Home(0, 70), Home(200, 3), Home(300, 133)]
    grove = Grove(homes)
    for depth in (1, 2, 3):
        owner = np.array([0, 1, 2]) if depth == 1 else np.array([0, 0, 1, 2, 2])
        parents = np.arange(3) if depth == 1 else np.array([0, 0, 1, 2, 2])
        if depth == 3:
            parents = np.array([0, 1, 2, 3, 4])
        spots = grove.level(owner, parents, depth)
        reading = near_reading(spots.layout, owner, window, sinks)
        for row, whose in enumerate(owner):
            base, filled = homes[whose].base, homes[whose].filled
            keys = set(range(reading.extra[row], reading.extra_end[row]))
            if reading.window[row] >= 0:
                block = reading.windows[reading.window[row]]
                assert block.first + reading.offset[row] == row
                shared = set(range(block.start, block.stop))
                assert not keys & shared
                keys |= shared
            tail = spots.layout.path[row, reading.skip[row] : spots.layout.tail[row]].tolist()
            assert not keys & set(tail)
            assert tail[-1] == spots.slots[row]
            place = filled + depth - 1
            near = range(max(0, place - window + 1), place + 1)
            committed = {base + k for k in near if k < filled}
            committed |= {base + k for k in range(min(sinks, filled)) if k < near.start}
            assert {k for k in keys | set(tail) if k < base + filled} == committed
            own = [k for k in tail if k >= base + filled]
            assert len(own) == min(depth, window)


def test_a_window_that_holds_all_guesses_what_the_target_says():
    """With everything in its window it foretells its own greedy text."""
    target = tiny.target("llama")
    wide = self_window.build(self_window.Config(floor=0.0, least=0.0), target.facts)
    loud = running.engine(target, {"longctx.self_window": wide})
    for index, prompt_ in enumerate(tiny.prompts("llama")):
        ((said, report),) = running.reported(loud, {"a": prompt_}).values()
        assert said == tiny.greedy("llama", index)
        assert report.drafted > 0
        assert report.accepted > 3 * report.rounds


def test_nothing_committed_is_written_and_a_tree_ends_where_its_slots_do():
    mind, toy = drafter(window=30, width=3), Markov()
    batch = [text(str(index), index) for index in range(3)]
    prefill(mind, batch, toy)
    for _ in range(6):
        for one in batch:
            mind.keep_up(one)
        places = [mind.cache.place(one.id) for one in batch]
        before = mind.cache.store.clone()
        trees = mind.drafter.draft(batch, [Budget(400, 12)] * 3)
        assert max(tree.depths().max() for tree in trees) == 12
        for base, used, free in places:
            held = slice(base, base + used)
            assert torch.equal(before[:, :, :, held], mind.cache.store[:, :, :, held])
            end = slice(base + used + free, base + used + free + 1)
            assert torch.equal(before[:, :, :, end], mind.cache.store[:, :, :, end])
        step(mind, batch, [Budget(40, 12)] * 3, toy)


def test_a_nearly_full_sequence_drafts_less():
    mind, toy = drafter(width=4), Markov()
    one = text("a", 0, 100)
    prefill(mind, [one], toy)
    base, used, _ = mind.cache.place(one.id)
    deepest = []
    for free in (3, 4, 11, 60):
        mind.drafter._keys.place = lambda _, free=free: (base, used, free)
        (tree,) = mind.drafter.draft([one], [Budget(400, 12)])
        deepest.append(tree.depths().max())
    assert deepest == [0, 1, 2, 12]


def test_it_is_refused_without_a_target_and_silent_without_keys():
    with pytest.raises(ConfigError, match="there is none"):
        self_window.build(self_window.Config(), FACTS)
    alone = self_window.build(self_window.Config(), kept.facts())
    with pytest.raises(ConfigError, match="not been lent"):
        alone.draft([text("a")], [Budget(8, 3)])
