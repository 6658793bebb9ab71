"""The drafter of bounded memory: trees by dense formulas, its ring, what it holds and refuses."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from drafters import kept
from drafters.checkpoints import LONGSPEC, random_far
from drafters.markov import (
    FACTS,
    HIDDEN,
    MEDIA,
    Markov,
    features,
    prefill,
    prompt,
    queries,
    sequence,
    step,
)
from torch.nn import functional as F

from mmspec.core.drafter import Budget
from mmspec.core.errors import ConfigError
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.longctx import longspec
from mmspec.longctx.longspec_checkpoint import load_checkpoint, save_checkpoint
from mmspec.model.turning import turning
from mmspec.text.asked_pages import Measures, heaviest

GREEDY = Sampling(temperature=0.0)
AS_PUBLISHED = msgspec.structs.replace(
    LONGSPEC, hidden=HIDDEN, features=(), window=1, direct=False, attention_bias=True,
    final_norm=False, own_head=False, confidence=False,
)  # fmt: skip
SHAPES = {
    "ours": LONGSPEC,
    "ours, its window of one": msgspec.structs.replace(LONGSPEC, window=1, direct=False),
    "a span shorter than a tail": msgspec.structs.replace(LONGSPEC, span=5),
    "as published": AS_PUBLISHED,
    "published, a head of its own": msgspec.structs.replace(
        AS_PUBLISHED, own_head=True, draft_vocabulary=20, final_norm=True
    ),
}


def network(name):
    made = random_far(SHAPES[name])
    if SHAPES[name].draft_vocabulary is not None:
        made.speak_only(torch.arange(3, 23))
    return made


def drafter(made, folder, **options):
    save_checkpoint(folder, made)
    config = longspec.Config(path=str(folder), **{"floor": 1e-9, "least": 0.0, **options})
    return kept.keep(longspec.build(config, kept.facts()))


def greedy(id, seed=0, length=60):
    return Sequence(Request(id, Prompt(prompt(seed, length)), GREEDY), 0, seed)


def by_formulas(made, one, far, tree):
    """Every node's score, dense in float64, from all ids of its path and the target's keys."""
    made = made.double()
    target = kept.target()
    made.lend(lambda ids: target.embed(ids).double(), lambda x: target.logits(x.float()).double())
    config, text, turned = (
        made.config,
        one.tokens.tolist(),
        turning(target.family.decoder, kept.DIM),
    )
    state = None
    if config.features:
        last = one.tokens[len(text) - 2 : len(text) - 1]
        state = made.fuse([features(last, k).double() for k in config.features])[None]
    scores, states = np.zeros(len(tree)), {}
    for node in range(len(tree)):
        path, at = [], node
        while at > 0:
            path, at = [int(tree.tokens[at]), *path], int(tree.parents[at])
        ids = torch.tensor([*text, *path])
        if node:
            above = int(tree.parents[node])
            said, logits = states[above]
            never = made.target_ids() == MEDIA
            chance = logits.masked_fill(never, -torch.inf).log_softmax(-1)
            if made.judge is not None:
                chance = chance + F.logsigmoid(made.confidence(said)[0, 0])
            place = made.target_ids().tolist().index(int(tree.tokens[node]))
            scores[node] = scores[above] + float(chance[place])
            state = said if config.features else None
        states[node] = say(made, ids, state, far, turned)
    return scores


def say(made, ids, state, far, turned):
    """The last token's state and logits."""
    count, config = len(ids), made.config
    places = torch.arange(count)
    back = torch.minimum(torch.arange(config.window), places[:, None])
    given = ids[places[:, None] - back][None] if config.window > 1 else ids[None]
    shown = made.shown(given)
    key, value = made.keys(shown, places[None])
    here = places[None, -1:]
    stream, query = made.begin(given[:, -1:], shown[:, -1:], state, here)
    near = places > count - 1 - config.span
    seen = attend(query, key[:, near], value[:, near])
    angles = tuple(part.double() for part in turned.angles(here))
    stream, asked = made.ask(shown[:, -1:], stream, seen, angles)
    said = made.finish(stream, attend(asked, *far.double().transpose(1, 2)[:, None]))
    return said, made.logits(said)[0, 0]


def attend(query, key, value):
    """[1, 1, heads, D] to [1, n, kv heads, D]."""
    group = query.shape[2] // key.shape[2]
    key, value = (part.repeat_interleave(group, 2) for part in (key, value))
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value)


def without_compiled_parts(rows):
    """As on a device where there are none: what was laid out for a processor is gone."""
    rows.compiled = False
    del rows._words, rows._asked, rows._far_words, rows._far_asked


@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
@pytest.mark.parametrize("name", SHAPES)
@torch.inference_mode()
def test_trees_are_those_of_the_formulas(name, plain, tmp_path):
    mind, toy = drafter(network(name), tmp_path), Markov()
    if plain:
        without_compiled_parts(mind.drafter.rows)
    batch = [greedy(str(index), index, 50 + 13 * index) for index in range(3)]
    prefill(mind, batch, toy)
    grown = 0
    for _ in range(8):
        trees = mind.draft(batch, [Budget(24, 5)] * 3)
        for one, tree in zip(batch, trees, strict=True):
            base, used, _ = mind.cache.place(one.id)
            assert used == len(one) - 1
            far = mind.cache.store[LONGSPEC.reads, :, :, base : base + used]
            grown = max(grown, tree.depths().max())
            expected = by_formulas(network(name), one, far, tree)
            np.testing.assert_allclose(tree.scores, expected, atol=2e-4)
        step(mind, batch, [Budget(24, 5)] * 3, toy)
    assert grown > 2


@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
@torch.inference_mode()
def test_with_pages_it_reads_what_the_last_verified_token_asked_for(plain, tmp_path):
    """By the formulas over those keys alone; over all of them behind a prompt."""
    known = {"pages": 2, "page": 4, "recent": 8, "sinks": 2, "looks": (0, 2)}
    mind, toy = drafter(network("ours"), tmp_path, **known), Markov()
    if plain:
        without_compiled_parts(mind.drafter.rows)
    batch = [greedy(str(index), index, 50 + 13 * index) for index in range(2)]
    prefill(mind, batch, toy)
    for turn in range(6):
        trees = mind.draft(batch, [Budget(16, 4)] * 2)
        for one, tree in zip(batch, trees, strict=True):
            base, used, _ = mind.cache.place(one.id)
            store = mind.cache.store[:, :, :, base : base + used]
            far = store[LONGSPEC.reads]
            if turn:
                last = one.tokens[len(one) - 2 : len(one) - 1]
                asked = [queries(last, layer)[0] for layer in (0, 2)]
                weight = sum(
                    (query @ store[layer, 0].mT).softmax(-1).sum((0, 1))
                    for query, layer in zip(asked, (0, 2), strict=True)
                )
                view = heaviest(weight.numpy(), Measures(2, 8, 2, 4))
                read = np.concatenate([np.arange(2), view.far, np.arange(view.start, used)])
                assert len(read) <= 2 + 8 + 2 * 4 < used
                far = far[:, :, read]
            expected = by_formulas(network("ours"), one, far, tree)
            np.testing.assert_allclose(tree.scores, expected, atol=2e-4)
        step(mind, batch, [Budget(16, 4)] * 2, toy)


@pytest.mark.parametrize("name", ["ours", "as published"])
def test_a_ring_is_a_function_of_the_ids(name, tmp_path):
    """Whoever followed a text and whoever meets it now draft alike, whatever was accepted."""
    mind, toy = drafter(network(name), tmp_path), Markov()
    one = greedy("a")
    prefill(mind, [one], toy)
    for _ in range(90):  # several times the span
        fresh = drafter(network(name), tmp_path)
        fresh.keep_up(one)
        ring = mind.drafter.rings.of(one)
        again = fresh.drafter.rings.of(one)
        again.state, again.known = ring.state, ring.known
        (followed,) = mind.draft([one], [Budget(16, 4)])
        (met,) = fresh.draft([one], [Budget(16, 4)])
        assert followed.tokens.tolist() == met.tokens.tolist()
        np.testing.assert_allclose(followed.scores, met.scores, atol=1e-4)
        step(mind, [one], [Budget(16, 4)], toy)
    assert len(one) > 60 + 2 * LONGSPEC.span


def test_memory_does_not_grow_with_the_text(tmp_path):
    mind, toy = drafter(network("ours"), tmp_path), Markov()
    rings = mind.drafter.rings
    short, long = greedy("short", 0, 20), greedy("long", 1, 400)
    prefill(mind, [short, long], toy)
    held = {}
    for one in (short, long):
        mind.draft([one], [Budget(16, 4)])
        ring = rings.of(one)
        held[one.id] = ring.state.nbytes
        assert ring.end - ring.start <= 2 * LONGSPEC.span
    assert held["short/0"] == held["long/0"]
    assert rings.room == 2 * LONGSPEC.span + 4 * 16
    assert rings.store.shape[2] == 64 * rings.room


def test_the_targets_keys_are_read_and_never_written(tmp_path):
    mind, toy = drafter(network("ours"), tmp_path), Markov()
    batch = [greedy(str(index), index) for index in range(2)]
    prefill(mind, batch, toy)
    for _ in range(6):
        for one in batch:
            mind.keep_up(one)
        before = mind.cache.store.clone()
        mind.drafter.draft(batch, [Budget(24, 5)] * 2)
        assert torch.equal(before, mind.cache.store)
        step(mind, batch, [Budget(24, 5)] * 2, toy)


def test_other_keys_of_the_target_give_other_trees(tmp_path):
    """It does look there: with another prompt far behind the same last tokens it says otherwise."""
    mind, toy = drafter(network("as published"), tmp_path), Markov()
    texts = [np.concatenate([prompt(seed, 120)[:120], prompt(9, 80)]) for seed in (1, 2)]
    batch = [Sequence(Request(str(k), Prompt(t), GREEDY), 0, 0) for k, t in enumerate(texts)]
    prefill(mind, batch, toy)
    one, other = mind.draft(batch, [Budget(16, 4)] * 2)
    assert not np.array_equal(one.scores, other.scores)


def test_without_features_it_speaks_at_once_and_with_them_when_it_has_seen_one(tmp_path):
    for name, speaks in (("as published", True), ("ours", False)):
        mind, toy = drafter(network(name), tmp_path), Markov()
        one = greedy("a")
        one.cached = one.prompt_length - 1  # as after a prefix hit: nothing was shown
        (tree,) = mind.draft([one], [Budget(16, 4)])
        assert (len(tree) > 1) == speaks
        step(mind, [one], [Budget(16, 4)], toy)
        (tree,) = mind.draft([one], [Budget(16, 4)])
        assert len(tree) > 1


def test_no_room_for_another_ring_means_silence(tmp_path):
    mind, toy = drafter(network("as published"), tmp_path, sequences=1), Markov()
    batch = [greedy(str(index), index) for index in range(2)]
    prefill(mind, batch, toy)
    first, second = mind.draft(batch, [Budget(16, 4)] * 2)
    assert len(first) > 1
    assert len(second) == 1
    mind.forget("0/0")
    assert len(mind.draft(batch[1:], [Budget(16, 4)])[0]) > 1


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    made = network("published, a head of its own")
    save_checkpoint(tmp_path, made, training={"step": 3})
    read = load_checkpoint(tmp_path)
    assert read.config == made.config
    for key, value in made.state_dict().items():
        assert torch.equal(read.state_dict()[key], value)


def test_a_drafter_of_another_target_is_refused(tmp_path):
    for change, match in (
        ({"target_head_dim": 4}, "keys of width 4"),
        ({"target_kv_heads": 1}, "key heads: 1"),
        ({"reads": 3}, "layer 3"),
        ({"vocabulary": 40}, "ids: 40"),
        ({"target_hidden": 24}, "width 24"),
    ):
        save_checkpoint(tmp_path, random_far(msgspec.structs.replace(LONGSPEC, **change)))
        with pytest.raises(ConfigError, match=match):
            longspec.build(longspec.Config(path=str(tmp_path)), kept.facts())
    save_checkpoint(tmp_path, random_far(LONGSPEC))
    with pytest.raises(ConfigError, match="there is none"):
        longspec.build(longspec.Config(path=str(tmp_path)), FACTS)


def test_it_wants_to_be_lent_the_keys(tmp_path):
    save_checkpoint(tmp_path, network("ours"))
    mind = longspec.build(longspec.Config(path=str(tmp_path)), kept.facts())
    with pytest.raises(ConfigError, match="not been lent"):
        mind.draft([sequence("a", prompt(0))], [Budget(8, 3)])


def test_shapes_that_make_no_sense_are_refused():
    for wrong in ({"reads": -1}, {"cross_heads": 3}, {"span": 0}, {"features": (), "hidden": 24}):
        with pytest.raises(ValueError, match=r"reads|cross_heads|span|stream"):
            msgspec.structs.replace(LONGSPEC, **wrong)
