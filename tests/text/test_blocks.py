"""A drafter that says k tokens a pass: how few passes its trees take, and where its rows stand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from drafters.checkpoints import EAGLE, random_network
from drafters.markov import FACTS, Markov, prefill, prompt, step
from hypothesis import given, settings
from hypothesis import strategies as st

from mmspec.core.drafter import Budget
from mmspec.core.errors import ConfigError
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.text import eagle
from mmspec.text.block_spots import BlockGrove, descend
from mmspec.text.eagle_checkpoint import load_checkpoint, save_checkpoint
from mmspec.text.eagle_config import EagleConfig
from mmspec.text.spots import Home

CHAIN = {"width": 1, "children": 1}


def drafter(folder, parallel, **options):
    config = msgspec.structs.replace(EAGLE, parallel=parallel, window=2, confidence=True)
    save_checkpoint(folder, random_network(config, loud=12.0))
    told = {"path": str(folder), "floor": 1e-9, "least": 0.0, **options}
    return eagle.build(eagle.Config(**told), FACTS)


def sequence(id, seed=1, sampling=Sampling(temperature=0.0)):
    return Sequence(Request(id, Prompt(prompt(seed)), sampling), 0, seed)


def counted(thing, name, monkeypatch):
    """Row counts of every call of a method, as they come."""
    calls, plain = [], getattr(thing, name)

    def spied(first, *rest):
        calls.append(len(first))
        return plain(first, *rest)

    monkeypatch.setattr(thing, name, spied)
    return calls


@pytest.mark.parametrize("parallel", [1, 2, 3, 4, 9])
def test_a_chain_takes_a_pass_and_a_head_every_k_levels(parallel, tmp_path, monkeypatch):
    mind, one = drafter(tmp_path, parallel, **CHAIN, floor=1e-30), sequence("a")
    prefill(mind, [one], Markov())
    passes = counted(mind.rows, "run", monkeypatch)
    heads = counted(mind.rows, "heads", monkeypatch)
    (tree,) = mind.draft([one], [Budget(9, 8)])
    assert tree.depths().max() == 8  # eight levels were expanded, the first of what was committed
    assert passes == [parallel] * (7 // parallel)
    assert len(heads) == -(-8 // parallel)


@pytest.mark.parametrize("heat", [0.0, 1.0])
@pytest.mark.parametrize("parallel", [2, 3])
def test_a_tree_is_the_same_in_company(heat, parallel, tmp_path):
    """Twelve sequences, whose rows fill several groups: the same bytes as each alone."""
    mind, sampling = drafter(tmp_path, parallel), Sampling(temperature=heat)
    many = [sequence(str(seed), seed, sampling) for seed in range(12)]
    prefill(mind, many, Markov())
    budgets = [Budget(8 + 3 * seed, 2 + seed) for seed in range(12)]  # some stop before others
    for _ in range(4):
        together = mind.draft(many, budgets)
        for one, budget, tree in zip(many, budgets, together, strict=True):
            (alone,) = mind.draft([one], [budget])
            assert alone.tokens.tolist() == tree.tokens.tolist()
            assert alone.parents.tolist() == tree.parents.tolist()
            assert alone.scores.tobytes() == tree.scores.tobytes()
        step(mind, many, budgets, Markov())
    assert max(tree.depths().max() for tree in together) > 2 * parallel


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_rows_of_blocks_stand_where_their_paths_say(seed, parallel, window, count):
    """Random levels: every node once, in a slot of its own, and paths that are its ancestors'."""
    draw = np.random.default_rng(seed)
    homes = [Home(base=1000 * n, filled=int(draw.integers(1, 90)), start=7) for n in range(count)]
    grove, owner = BlockGrove(homes, parallel), np.arange(count)
    paths = [draw.integers(0, 99, window).tolist() for _ in owner]  # latest first
    lines, words = np.arange(count)[:, None], np.array(paths)
    kin, slots = [()] * count, dict[tuple[int, ...], int]()  # a node's places in its levels
    for depth in range(1, 3 * parallel + 1):
        parents = np.sort(draw.integers(0, len(owner), int(draw.integers(1, 6))))
        tokens = draw.integers(0, 99, len(parents))
        kin = [(*kin[above], row) for row, above in enumerate(parents.tolist())]
        paths = [[int(said), *paths[p]] for said, p in zip(tokens, parents, strict=True)]
        owner = owner[parents]
        lines, words = descend(lines, words, parents, tokens)
        if depth % parallel:
            continue
        made = grove.block(owner, lines, words, depth)
        held = {line[:end] for line in kin for end in range(depth - parallel + 1, depth + 1)}
        assert len(made.owner) == len(held) == len(set(made.spots.slots.tolist()))
        assert not set(made.spots.slots.tolist()) & set(slots.values())
        layout = made.spots.layout
        assert layout.count == len(owner)
        for row, line in enumerate(kin):
            home = homes[owner[row]]
            tail = layout.path[row, : layout.tail[row]].tolist()
            for back in range(parallel):
                at = made.spots.slots.tolist().index(tail[-1 - back])
                assert slots.setdefault(line[: depth - back], tail[-1 - back]) == tail[-1 - back]
                assert made.windows[at].tolist() == paths[row][back : back + window]
                assert made.spots.positions[at] == home.start + home.filled + depth - 1 - back
                assert made.source[at] == lines[row, 0] * parallel + parallel - 1 - back
                assert made.owner[at] == owner[row]
            tree = [slots[line[:end]] for end in range(1, depth + 1)]
            own = list(range(home.base, home.base + home.filled))
            assert tail == [*own, *tree][-len(tail) :]
            assert len(tail) >= depth + min(home.filled, 1)
        lines, words = np.arange(len(owner))[:, None], made.windows[: len(owner)]


def test_a_checkpoint_of_blocks_comes_back_and_one_that_is_torn_does_not(tmp_path):
    network = random_network(msgspec.structs.replace(EAGLE, parallel=3))
    save_checkpoint(tmp_path, network)
    read, told = load_checkpoint(tmp_path)
    assert told.network.parallel == 3
    assert read.down_proj.weight.shape == (3 * EAGLE.hidden, EAGLE.intermediate)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"parallel": 3', '"parallel": 2'))
    with pytest.raises(ConfigError, match=r"down_proj.weight is \(72, 40\), not \(48, 40\)"):
        load_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="parallel"):
        EagleConfig(**(msgspec.structs.asdict(EAGLE) | {"parallel": 0}))
