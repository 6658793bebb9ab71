"""After a prefix that the target knew a drafter guesses what it would have guessed anyway."""

from __future__ import annotations

import functools
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import running
import tiny
import torch
from drafters.checkpoints import random_network, save_language_model

from mmspec.core.drafter import Observation
from mmspec.core.request import Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.engine.build import build_drafter
from mmspec.model.cache import prefix_of
from mmspec.text.eagle_checkpoint import save_checkpoint as save_reading
from mmspec.text.eagle_config import EagleConfig
from mmspec.vision.sight import SightConfig
from mmspec.vision.vispec_checkpoint import save_checkpoint as save_seeing
from mmspec.vision.vispec_network import VispecConfig, VispecNetwork

NAME, CHUNK = "llava", running.CHUNK
BODY = EagleConfig(
    hidden=64, target_hidden=64, layers=(0, 1, 2), heads=4, kv_heads=2, head_dim=16,
    intermediate=96, vocabulary=tiny.VOCABULARY,
)  # fmt: skip
NARROW = msgspec.structs.replace(BODY, wide=False, layers=(1,), final_norm=False)
READING = {
    "eagle": BODY,
    "eagle, three tokens": msgspec.structs.replace(BODY, window=3),
    "eagle, narrow": NARROW,
    "eagle, two a pass": msgspec.structs.replace(BODY, parallel=2),
}
SEEING = {
    "vispec": (msgspec.structs.replace(BODY, window=3), SightConfig(tokens=2)),
    "vispec, places": (BODY, SightConfig(orders=2)),
    "vispec, compact": (BODY, SightConfig(compact=True)),
    "vispec, whole": (BODY, SightConfig(how="keep", tokens=0, glance=False)),
    "vispec, latents": (BODY, SightConfig(how="latent", tokens=3, glance=False)),
    "vispec, published": (NARROW, SightConfig(keys="embeds", plain=True)),
}
KINDS = [*READING, *SEEING, "draft model"]
FEW = ["eagle", "vispec", "draft model"]
GREEDY = Sampling(temperature=0.0, max_tokens=16)
SAMPLED = Sampling(temperature=0.8, seed=3, max_tokens=16)


class Spied:
    """A drafter whose trees are written down."""

    def __init__(self, mind):
        self.mind, self.needs, self.runs_model = mind, mind.needs, True
        self.observe, self.forget, self.clear = mind.observe, mind.forget, mind.clear
        self.trees = {}

    def draft(self, sequences, budgets):
        trees = self.mind.draft(sequences, budgets)
        for one, tree in zip(sequences, trees, strict=True):
            said = (tree.tokens.tolist(), tree.parents.tolist(), tree.scores.tobytes())
            self.trees.setdefault(one.id, []).append(said)
        return trees

    @property
    def resting(self):
        return self.mind._memories._resting

    def slots(self):
        """Those in use, at rest or not."""
        extents = self.resting._cache._extents.values()
        return sum(extent.room for extent in extents)


@pytest.fixture(params=KINDS)
def make(request, tmp_path):
    """Makes the drafter anew."""
    return maker(request.param, tmp_path)


@pytest.fixture(params=FEW)
def make_one(request, tmp_path):
    """As ``make``, one of a kind."""
    return maker(request.param, tmp_path)


def maker(kind, folder, **options):
    address = "text.draft_model"
    if kind in READING:
        address = "text.eagle"
        save_reading(folder, random_network(READING[kind]))
    elif kind in SEEING:
        address = "vision.vispec"
        save_seeing(folder, seeing(*SEEING[kind]))
    else:
        save_language_model(folder, tiny.VOCABULARY, max_position_embeddings=512)
    said = {"path": str(folder), "floor": 1e-4, "least": 0.0, "tokens": 8192, **options}
    return lambda: Spied(build_drafter(address, said, target().facts))


@functools.cache
def target():
    return tiny.target(NAME)


def seeing(body, sight):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = VispecNetwork(VispecConfig(**msgspec.structs.asdict(body), sight=sight))
        for name, value in made.named_parameters():
            if "sight" in name and "norm" not in name:
                value.data.normal_(0, 0.3)
    return made


def engine(mind, **options):
    return running.engine(target(), {"a.drafter": mind}, **{"prefix_cache": True, **options})


def words(count, seed):
    return np.random.default_rng(seed).integers(1, 150, count)


def picture(seed):
    return tiny._picture(NAME, seed, None)


def prompts():
    """Pairs of prompts: one read before, one that begins the same way; and chunks they share."""
    start = words(70, 0)
    cut = [words(21, 1), picture(0), picture(1), words(30, 2), picture(2)]  # [83, 99) in the last
    flush = [words(16, 3), picture(0)]
    return {
        "another end": ([start, words(30, 4)], [start, words(50, 5)], 2),
        "another token after": ([start[:64], words(9, 6)], [start[:64], words(8, 7)], 2),
        "no more than a root": ([start[:64], words(9, 6)], [start[:65]], 2),
        "a few more than a root": ([start[:64], words(9, 6)], [start[:64], words(6, 8)], 2),
        "a picture cut": ([*cut, words(20, 9)], [*cut, words(25, 10)], 3),
        "a picture up to the chunk's end": ([*flush, words(9, 11)], [*flush, words(15, 12)], 1),
        "a picture, then a root": ([*flush, words(9, 11)], [*flush, words(1, 12)], 1),
        "a new picture": ([start, picture(0), words(9, 1)], [start, picture(1), words(9, 1)], 2),
    }  # fmt: skip


PAIRS = {name: (tiny._join(a), tiny._join(b), n) for name, (a, b, n) in prompts().items()}


def trees_of(mind, prompt, id="b", sampling=GREEDY, one=None):
    """The trees for a prompt, what was said, and its report."""
    one = engine(mind) if one is None else one
    mind.trees.clear()
    ((said, report),) = running.reported(one, {id: prompt}, sampling).values()
    return mind.trees[f"{id}/0"], said, report


@pytest.mark.parametrize("name", PAIRS)
def test_the_drafts_are_those_after_a_fresh_prefill(name, make):
    """To the bit, from the first tree on; and nothing else changes."""
    before, prompt, shared = PAIRS[name]
    sampling = SAMPLED if "picture" in name else GREEDY
    fresh = trees_of(make(), prompt, sampling=sampling)
    mind = make()
    one = engine(mind)
    running.run(one, {"a": before}, GREEDY)
    again = trees_of(mind, prompt, sampling=sampling, one=one)
    assert one.stats.reused_tokens == shared * CHUNK
    assert len(fresh[0][0][0]) > 1  # it speaks from the first tree on
    assert again == fresh


def test_a_chat_goes_on_as_if_read_whole(make):
    """Turn after turn, each with the answers before it: every turn's hit is on the last one's."""
    mind, prompt = make(), tiny._join([words(40, 1), picture(0), words(30, 2)])
    one = engine(mind)
    for turn in range(3):
        trees, said, report = trees_of(mind, prompt, id=str(turn), one=one)
        fresh = make()
        assert (trees, said, report) == trees_of(fresh, prompt, id=str(turn))
        prompt = replace(prompt, ids=np.concatenate([prompt.ids, said, words(20, turn)]))
        assert len(mind.resting._resting) == 1  # what an earlier turn left is within the later's
    assert one.stats.reused_tokens >= 64 + 96


def close(ours, theirs):
    """Trees that differ in their last bits alone, as in other company."""
    assert len(ours) == len(theirs)
    for (tokens, parents, scores), (*same, others) in zip(ours, theirs, strict=True):
        assert [tokens, parents] == same
        numbers = [np.frombuffer(one, np.float32) for one in (scores, others)]
        np.testing.assert_allclose(*numbers, atol=1e-4)


def test_choices_of_a_request_know_its_prompt_from_the_first(make_one):
    """They find it in flight."""
    _, prompt, _ = PAIRS["a picture cut"]
    mind, alone = make_one(), make_one()
    for one in (engine(mind), engine(alone, prefix_cache=False)):
        one.submit(Request("a", prompt, msgspec.structs.replace(SAMPLED, n=3)))
        while one.busy:
            one.step()
        assert one.stats.reused_tokens in {0, 2 * 96}
    for choice in range(3):
        close(mind.trees[f"a/{choice}"], alone.trees[f"a/{choice}"])


def test_known_and_new_prompts_go_together(make_one):
    """Each is drafted for as alone, from nothing."""
    mind = make_one()
    one = engine(mind)
    cut, other = PAIRS["a picture cut"], PAIRS["another end"]
    running.run(one, {"a": cut[0], "b": other[0]}, GREEDY)
    batch = {"cut": cut[1], "other": other[1], "new": tiny._join([words(90, 30), picture(3)])}
    batch["new"] = replace(batch["new"], ids=np.append(batch["new"].ids, 7))
    mind.trees.clear()
    running.run(one, batch, GREEDY)
    assert one.stats.reused_tokens == (cut[2] + other[2]) * CHUNK
    for id, prompt in batch.items():
        unshared = make_one()
        trees, *_ = trees_of(unshared, prompt, id=id, one=engine(unshared, prefix_cache=False))
        close(mind.trees[f"{id}/0"], trees)


def test_equal_ids_with_another_picture_share_nothing(make_one):
    before, prompt, _ = PAIRS["a picture up to the chunk's end"]
    other = tiny._join([words(16, 3), picture(1), words(15, 12)])
    assert np.array_equal(other.ids, prompt.ids)
    mind = make_one()
    one = engine(mind)
    running.run(one, {"a": before, "c": prompt}, GREEDY)
    fresh = trees_of(make_one(), other)
    assert trees_of(mind, other, one=one) == fresh
    sequence = Sequence(Request("d", other), 0, 0, prefix_of(other, CHUNK))
    known = Sequence(Request("d", prompt), 0, 0, prefix_of(prompt, CHUNK))
    assert not set(sequence.prefix.keys) & set(known.prefix.keys)


@pytest.mark.parametrize("steps", [2, 6])
def test_a_cancelled_request_leaves_what_it_had_read(steps, make_one):
    before, prompt, _ = PAIRS["another end"]
    mind = make_one()
    one = engine(mind)
    one.submit(Request("a", before, GREEDY))
    for _ in range(steps):  # two chunks of its prompt; and some of its text
        one.step()
    one.cancel("a")
    while one.busy:
        one.step()
    assert trees_of(mind, prompt, one=one) == trees_of(make_one(), prompt)
    assert one.stats.reused_tokens == 64


def test_nothing_rests_where_prompts_are_not_shared_or_all_is_forgotten(make_one):
    before, prompt, _ = PAIRS["a picture cut"]
    mind = make_one()
    running.run(engine(mind, prefix_cache=False), {"a": before, "b": prompt}, GREEDY)
    assert mind.slots() == 0
    one = engine(mind)
    running.run(one, {"a": before}, GREEDY)
    assert 0 < mind.slots() <= 96  # whole chunks alone
    one.reset()
    assert mind.slots() == mind.resting.size == len(mind.resting._holders) == 0
    assert trees_of(mind, prompt, one=one) == trees_of(make_one(), prompt)


@pytest.mark.parametrize("kind", FEW)
def test_in_a_store_too_small_texts_in_flight_go_first(kind, tmp_path):
    """What rests gives way; who comes late finds what there is, and the text stays the same."""
    before, prompt, _ = PAIRS["another end"]
    mind = maker(kind, tmp_path, tokens=150 + 64, width=4)()
    one = engine(mind)
    (cold,) = running.run(engine(mind, prefix_cache=False), {"b": prompt}, GREEDY).values()
    running.run(one, {"a": before}, GREEDY)
    assert mind.slots() in {95, 96}  # a feature drafter's last token waits
    trees, said, report = trees_of(mind, prompt, one=one)
    assert said == cold
    assert report.drafted > 0
    assert any(len(tokens) > 1 for tokens, *_ in trees)
    together = running.run(one, dict.fromkeys("012", prompt), GREEDY)
    assert all(text == cold for text in together.values())
    assert mind.slots() <= mind.resting._cache.slots


@pytest.mark.parametrize("turns", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", FEW)
def test_many_requests_take_no_more_than_the_store(kind, turns, tmp_path):
    """Prompts of a few beginnings, read, cancelled or found, over a store of fourteen hundred."""
    mind = maker(kind, tmp_path, tokens=1400)()
    resting, cache = mind.resting, mind.resting._cache
    dice, found = np.random.default_rng(0), 0
    lengths = dice.integers(20, 130, 12).tolist()
    starts = [[words(length, seed), picture(seed)] for seed, length in enumerate(lengths)]
    states = torch.randn(512, 64, generator=torch.Generator().manual_seed(0))
    knows = set()  # what the target remembers
    for turn in range(turns):
        prompt = tiny._join(
            [*starts[int(dice.integers(12))], words(int(dice.integers(1, 60)), turn)]
        )
        ids, prefix = prompt.ids, prefix_of(prompt, CHUNK)
        one = Sequence(Request(f"{turn % 3}", prompt, GREEDY), 0, 0, prefix)
        known = [key in knows for key in one.prefix.keys]
        one.cached = CHUNK * (known.index(False) if False in known else len(known))
        while one.cached < len(ids) - 1 and dice.random() < 0.95:
            start, stop = one.cached, min((one.cached // CHUNK + 1) * CHUNK, len(ids) - 1)
            one.cached = stop
            hidden = dict.fromkeys(mind.needs.layers, states[start:stop])
            offsets = np.array([0, stop - start], np.int32)
            mind.observe([one], Observation(offsets, ids[start:stop], hidden))
            knows |= set(one.prefix.keys[: stop // CHUNK])
        held = mind.mind._memories._held.get(one.id)
        found += held is not None and held.filled > 0 and held.sequence is one
        if turn % 3 < 2 or dice.random() < 0.5:
            mind.forget(one.id)
        assert mind.slots() <= cache.slots
        assert resting.size <= resting._limit
    assert found > 0.9 * turns
    for id in ("0/0", "1/0", "2/0"):
        mind.forget(id)
    mind.clear()
    assert mind.slots() == resting.size == len(resting._holders) == len(resting._flying) == 0
