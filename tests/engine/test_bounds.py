"""Memory and positions of drafters: asked for before a prompt is read, given back when it ends."""

from __future__ import annotations

import gc
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import tiny
from drafters import checkpoints, kept
from drafters.markov import FACTS
from drafting import Random
from running import engine, reported, run

from mmspec.core.drafter import Limited
from mmspec.core.errors import BadRequestError
from mmspec.core.request import Media, Prompt, Request, Sampling, Speculation
from mmspec.core.sequence import Sequence
from mmspec.engine.bounds import Bounds
from mmspec.engine.build import build_drafter
from mmspec.retrieval import suffix
from mmspec.text import eagle
from mmspec.text.eagle_checkpoint import save_checkpoint
from mmspec.vision import vispec
from mmspec.vision.sight import SightConfig
from mmspec.vision.vispec_checkpoint import save_checkpoint as save_seeing
from mmspec.vision.vispec_network import VispecConfig, VispecNetwork

LONG = 32_768
GREEDY = Sampling(temperature=0.0, max_tokens=24)


@pytest.fixture(scope="module")
def target():
    return tiny.target("llama")


def text(length, seed=0):
    return Prompt(np.random.default_rng(seed).integers(3, 90, length))


def sequence(id, length, **sampling):
    return Sequence(Request(id, text(length), Sampling(**sampling)), 0, 0)


class Holds(Random):
    """Holds so many bytes a token of every sequence it is shown, and keeps count."""

    def __init__(self, each, reach=None):
        super().__init__(90)
        self.each, self._reach, self.saw, self.longest = each, reach, {}, 0

    def room(self, tokens):
        return self.each * tokens

    def reach(self, request):
        return self._reach

    def observe(self, sequences, seen):
        self.saw |= {one.id: len(one) for one in sequences}

    def draft(self, sequences, budgets):
        self.longest = max(self.longest, *(len(one) for one in sequences))
        return super().draft(sequences, budgets)

    def forget(self, id):
        self.saw.pop(id, None)


class Stores(Holds):
    """Out of a store of its own."""

    pool = 1000


def test_who_finds_no_room_goes_on_without_and_at_once(target):
    """Two of three requests fit; all run together, and say what they say without drafters."""
    asked = {id: text(40, seed) for seed, id in enumerate("abc")}
    tight = engine(target, {"text.holds": Holds(10)}, drafter_bytes=2 * 640 + 100)
    told = reported(tight, asked, GREEDY)
    assert {id: said for id, (said, _) in told.items()} == run(engine(target), asked, GREEDY)
    assert [told[id][1].drafted > 0 for id in "abc"] == [True, True, False]
    why = "no room: would hold 0.00064 MB of 0.00138 MB, 0.00128 MB of them taken"
    assert told["c"][1].off_reasons == {"text.holds": why}
    assert tight.stats.drafter_bytes == 0
    again = reported(tight, {"d": text(40, 2)}, GREEDY)
    assert again["d"][1].drafted > 0


def test_others_watch_where_one_has_no_room(target):
    large, small = Holds(1000), Holds(1)
    loud = engine(target, {"text.large": large, "text.small": small}, drafter_bytes=5000)
    ((_, report),) = reported(loud, {"a": text(40)}, GREEDY).values()
    assert report.off_reasons == {"text.large": "no room: would hold 0.04 MB of 0.005 MB"}
    assert set(report.by_source) == {"text.small"}


def test_a_store_of_its_own_bounds_a_drafter_too():
    bounds = Bounds({"text.a": Stores(10), "text.b": Holds(10)}, 10_000)
    first, second = sequence("a", 60), sequence("b", 60)
    assert bounds.admit(first, 60, ("text.a", "text.b")) == {}
    why = "no room: would hold 0.0006 MB of 0.001 MB, 0.0006 MB of them taken"
    assert bounds.admit(second, 60, ("text.a", "text.b")) == {"text.a": why}
    assert bounds.held == 1800
    bounds.release(first.id, "text.a")
    assert bounds.admit(second, 60, ("text.a",)) == {}  # asked again, it begins anew
    assert bounds.held == 1200
    assert "of 0.001 MB" in bounds.ahead("text.a", Request("c", text(101)))
    assert bounds.ahead("text.b", Request("c", text(101))) is None


def test_at_32k_the_bounded_drafter_is_let_in_and_the_growing_one_is_not(tmp_path):
    """Both of one width: a ring is of a window, a feature drafter's keys are of the whole text."""
    far = replace(kept.facts(), context=1 << 17)
    made = {}
    for address, facts in (
        ("longctx.longspec", far),
        ("text.eagle", replace(FACTS, context=1 << 17)),
    ):
        folder = tmp_path / address
        folder.mkdir()
        made[address] = build_drafter(address, checkpoints.options(address, folder), facts)
    ring, keys = (made[one] for one in ("longctx.longspec", "text.eagle"))
    assert ring.room(100) == ring.room(LONG) == ring.room(1 << 17)
    assert keys.room(LONG) > 30 * ring.room(LONG)
    bounds = Bounds(made, 5 * ring.room(0))
    prompt, short = sequence("a", LONG - 100, max_tokens=100), sequence("b", 100, max_tokens=100)
    off = bounds.admit(prompt, LONG, made)
    assert set(off) == {"text.eagle"}
    assert off["text.eagle"].startswith("no room: would hold ")
    assert bounds.ahead("text.eagle", prompt.request) is not None
    bounds.release(prompt.id)
    assert bounds.admit(short, 200, made) == {}


@pytest.mark.parametrize("address", ["text.eagle", "text.draft_model", "longctx.longspec"])
def test_stores_hold_no_more_than_was_set_aside(address, target, tmp_path):
    """At every step of sequences that come and go, with slots counted by the stores themselves."""
    options = checkpoints.options(address, tmp_path)
    if address == "text.draft_model":
        checkpoints.save_language_model(tmp_path, tiny.VOCABULARY)
        mind = build_drafter(address, {**options, "tokens": 4096}, target.facts)
        loop, store = engine(target, {address: mind}), mind._memories.cache
        for seed in range(6):
            loop.submit(Request(str(seed), text(20 + 17 * seed, seed), GREEDY))
        while loop.busy:
            loop.step()
            assert store.used * store.slot_bytes <= loop.stats.drafter_bytes
        assert loop.stats.drafter_bytes == store.used == 0
        return
    known = kept.facts() if address == "longctx.longspec" else FACTS
    mind = build_drafter(address, options, known)
    store = mind.rings._cache if address == "longctx.longspec" else mind._memories._cache
    for count in (1, 2, 3):
        one = sequence(str(count), 60, max_tokens=40)
        if address == "longctx.longspec":
            mind.rings.of(one)
        else:
            assert mind._memories.watch(one, 0, 60) is not None
        assert store.used * store.slot_bytes <= count * mind.room(100)
        assert count * mind.room(100) < 2 * store.used * store.slot_bytes
        assert mind.pool >= store.store.nbytes


def test_an_automaton_is_never_larger_than_it_says():
    mind = suffix.build(suffix.Config(), FACTS)
    worst = np.array([0, *[1, 2] * 300, *[1, 1, 2] * 200], np.int64)  # many states, many edges
    for ids in (worst, np.random.default_rng(0).integers(0, 28, 900), np.zeros(500, np.int64)):
        one = Sequence(Request("a", Prompt(ids)), 0, 0)
        one.cached = len(ids) - 1
        mind.observe([one], None)
        assert mind._read[one.id][1].bytes <= mind.room(len(one))


# Positions


def test_a_prompt_beyond_its_positions_is_declined_and_a_text_that_outgrows_them_goes_on(target):
    asked = {"over": text(61), "full": text(60), "within": text(30), "grows": text(50)}
    mind = Holds(1, reach=60)
    loud = engine(target, {"text.holds": mind})
    told = reported(loud, asked, GREEDY)
    assert {id: said for id, (said, _) in told.items()} == run(engine(target), asked, GREEDY)
    off = {id: report.off_reasons.get("text.holds") for id, (_, report) in told.items()}
    assert off == {
        "over": "the prompt has 61 tokens, its positions end at 60",
        "full": "its positions end at 60 tokens",
        "within": None,
        "grows": "its positions end at 60 tokens",
    }
    assert told["over"][1].drafted == 0 < told["grows"][1].drafted
    assert mind.longest <= 60


def test_what_was_set_aside_goes_back_when_positions_end(target):
    mind = Holds(7, reach=45)
    loud = engine(target, {"text.holds": mind})
    loud.submit(Request("a", text(40), GREEDY))
    held = []
    while loud.busy:
        loud.step()
        held.append((loud.stats.drafter_bytes, len(mind.saw)))
    assert held[0][0] == 7 * 64
    assert (0, 0) in held[:-1]


def test_a_small_model_says_where_its_context_ends(target, tmp_path):
    checkpoints.save_language_model(tmp_path, tiny.VOCABULARY, max_position_embeddings=96)
    options = {"path": str(tmp_path), "floor": 1e-4, "least": 0.0}
    loud = engine(
        target, {"text.draft_model": build_drafter("text.draft_model", options, target.facts)}
    )
    asked = {"long": text(97), "grows": text(80), "short": text(20)}
    told = reported(loud, asked, Sampling(temperature=0.0, max_tokens=40))
    off = {id: report.off_reasons.get("text.draft_model") for id, (_, report) in told.items()}
    assert off["long"] == "the prompt has 97 tokens, its positions end at 96"
    assert off["grows"] == "its positions end at 96 tokens"
    assert off["short"] is None
    assert told["grows"][1].drafted > 0


def test_a_feature_drafter_ends_where_its_checkpoint_says_or_its_options(tmp_path):
    shape = msgspec.structs.replace(checkpoints.EAGLE, context=2048)
    save_checkpoint(tmp_path, checkpoints.random_network(shape))
    short, long = Request("a", text(2048)), Request("b", text(2049))
    for options, most in (({}, 2048), ({"context": 3000}, 3000)):
        made = {"text.eagle": eagle.build(eagle.Config(path=str(tmp_path), **options), FACTS)}
        assert isinstance(made["text.eagle"], Limited)
        bounds = Bounds(made)
        assert bounds.ahead("text.eagle", short) is None
        assert (bounds.ahead("text.eagle", long) is None) == (most > 2048)


def test_what_is_left_out_of_pictures_takes_no_positions(tmp_path):
    for compact in (False, True):
        shape = msgspec.structs.replace(checkpoints.EAGLE, context=100)
        sight = SightConfig(tokens=2, compact=compact)
        folder = tmp_path / str(compact)
        save_seeing(
            folder, VispecNetwork(VispecConfig(**msgspec.structs.asdict(shape), sight=sight))
        )
        mind = vispec.build(vispec.Config(path=str(folder)), FACTS)
        media = (Media("x", 1, 30, {}), Media("y", 40, 1, {}))
        assert mind.reach(Request("a", Prompt(text(60).ids, media))) == (128 if compact else 100)


# The target's own limits


def test_prompt_and_answer_are_counted_to_the_token_before_anything_is_read(target):
    one = engine(target, cache_bytes=target.bytes_per_token() * (100 + 17))
    for length, most, fits in ((60, 41, False), (60, 40, True), (100, 1, False), (99, 1, True)):
        request = Request("a", text(length), Sampling(temperature=0.0, max_tokens=most))
        if fits:
            one.submit(request)
            one.close()
            one.step()
            continue
        with pytest.raises(BadRequestError, match="cache holds 100") as refusal:
            one.submit(request)
        assert refusal.value.code == "context_length_exceeded"
    assert one.stats.passes == one.cache.used == 0
    roomy = engine(target)
    with pytest.raises(BadRequestError, match="context holds"):
        roomy.submit(Request("a", text(target.max_context)))
    roomy.submit(Request("a", text(target.max_context - 1), Sampling(temperature=0.0)))
    assert sum(len(delta.tokens) for _ in range(99) for delta in roomy.step()) == 1


# Transfer


class Lends(Holds):
    """Has a law to transfer: none ever."""

    def ready(self, sequence):
        return True

    def laws(self, sequence, tree):
        return tree.truncate(0), None


def test_a_text_that_is_to_be_tilted_waits_for_its_drafters_memory(target):
    """It cannot go on without; what could never be had is refused or ends it at once."""
    loop = engine(target, {"text.lends": Lends(10)}, drafter_bytes=700, transfer=True)
    tilted = Speculation(transfer=1.0)
    for id in "ab":
        loop.submit(Request(id, text(40), GREEDY, tilted))
    told, together = {}, 0
    while loop.busy:
        for delta in loop.step():
            told.setdefault(delta.request_id, []).extend(delta.tokens)
            assert delta.error is None
        together = max(together, loop.stats.running)
    assert together == 1
    assert len(told["a"]) == len(told["b"]) == GREEDY.max_tokens
    with pytest.raises(BadRequestError, match="no room"):
        loop.submit(Request("c", text(80), GREEDY, tilted))
    loop.submit(Request("d", text(60), GREEDY, tilted))  # its answer does not fit
    (last,) = [delta for _ in range(4) for delta in loop.step() if delta.finish_reason]
    assert last.finish_reason == "error"
    assert loop.stats.drafter_bytes == 0


# For ever


def test_a_thousand_requests_that_come_and_go_leave_nothing(target, tmp_path):
    """Finished, cancelled while waiting, in prefill or in decoding: memory and books stay flat."""
    checkpoints.save_language_model(tmp_path, tiny.VOCABULARY)
    minds = {
        "text.draft_model": build_drafter(
            "text.draft_model", {"path": str(tmp_path), "tokens": 2048}, target.facts
        ),
        "retrieval.suffix": build_drafter("retrieval.suffix", {}, target.facts),
    }
    loop = engine(target, minds, drafter_bytes=3_000_000, max_sequences=3)
    dice = np.random.default_rng(0)
    refused, ends, level = 0, set(), []
    for cycle in range(1000):
        ids = [f"{cycle} {index}" for index in range(int(dice.integers(1, 4)))]
        for id in ids:
            sampling = Sampling(temperature=0.0, max_tokens=int(dice.integers(1, 4)))
            loop.submit(Request(id, text(int(dice.integers(1, 70)), cycle % 7), sampling))
        for _ in range(int(dice.integers(0, 4))):
            for delta in loop.step():
                ends.add(delta.finish_reason)
                refused += delta.report is not None and bool(delta.report.off_reasons)
        for id in ids:
            loop.cancel(id)
        while loop.busy:
            ends |= {delta.finish_reason for delta in loop.step()}
        store = minds["text.draft_model"]._memories.cache
        assert loop.stats.drafter_bytes == loop.cache.used == store.used == 0
        assert not minds["retrieval.suffix"]._read
        if cycle % 100 == 99:
            gc.collect()
            level.append(len(gc.get_objects()))
    assert {"length", "cancelled"} <= ends
    assert max(level[2:]) - level[1] < 200
