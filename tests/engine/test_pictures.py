"""Pictures in the loop: encoded once, beside decoding, and nobody pays for another's fault."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import tiny
import torch
from running import CHUNK, engine, run

from mmspec.core.errors import BadRequestError
from mmspec.core.request import Prompt, Request, Sampling

GREEDY = Sampling(temperature=0.0, max_tokens=40)
LONG = Sampling(temperature=0.0, max_tokens=200)
WORDS = Prompt(np.random.default_rng(3).integers(3, 90, 20))
NAME = "qwen3_vl"  # three axes, pictures of any size, features for early layers
SEEN = tiny.prompts(NAME)[2]
PATIENT = 30.0
seeing = pytest.mark.parametrize("name", tiny.SEEING)


class Tower:
    """A family's own, counted, slow on demand, broken for some pictures."""

    def __init__(self, target, fails=()):
        self._encode, self.fails = target.family.encode, fails
        self.runs = []
        self.gate = threading.Event()
        self.gate.set()
        target.family.encode = self

    def __call__(self, media):
        self.runs.append(media.digest)
        assert self.gate.wait(PATIENT)
        if media.digest in self.fails:
            raise RuntimeError("secret detail")
        return self._encode(media)


def scene(name=NAME, fails=()):
    target = tiny.target(name)
    return target, Tower(target, fails)


def drain(one, told=None):
    told = {} if told is None else told
    while one.busy:
        for delta in one.step():
            told.setdefault(delta.request_id, []).append(delta)
    return told


def said(deltas):
    return [token for delta in deltas for token in delta.tokens]


def digests(prompt):
    return [media.digest for media in prompt.media]


@contextmanager
def held(tower):
    """The tower takes as long as the block."""
    tower.gate.clear()
    try:
        yield
    finally:
        tower.gate.set()


@seeing
@pytest.mark.parametrize("limit", [256 << 20, 0])
def test_a_remembered_picture_gives_the_same_text_and_no_run(name, limit):
    target, tower = scene(name)
    prompts = {str(index): prompt for index, prompt in enumerate(tiny.prompts(name))}
    texts = {id: tiny.greedy(name, int(id)) for id in prompts}
    one = engine(target, picture_cache_bytes=limit)
    for _ in range(2):
        assert run(one, prompts, GREEDY) == texts
        for id, prompt in prompts.items():
            assert run(one, {id: prompt}, GREEDY) == {id: texts[id]}
    pictures = [digest for prompt in prompts.values() for digest in digests(prompt)]
    stats = one.stats
    assert stats.picture_hits + stats.picture_misses == 4 * len(pictures)
    assert stats.picture_misses == len(tower.runs)
    if limit:
        assert sorted(tower.runs) == sorted(set(pictures))
        assert stats.picture_bytes > 0
    else:
        assert sorted(tower.runs) == sorted(4 * pictures)
        assert stats.picture_bytes == 0
    assert stats.vision_seconds > 0
    one.reset()
    assert one.stats.picture_hits == one.stats.picture_misses == one.stats.picture_bytes == 0


def test_running_text_goes_on_while_a_picture_is_encoded():
    target, tower = scene()
    alone = run(engine(target), {"words": WORDS}, LONG)["words"]
    one = engine(target)
    tower.runs.clear()
    one.submit(Request("words", WORDS, LONG))
    told = {}
    with held(tower):
        one.submit(Request("seen", SEEN, GREEDY))
        for _ in range(30):
            for delta in one.step():
                told.setdefault(delta.request_id, []).append(delta)
        assert set(told) == {"words"}
        assert len(said(told["words"])) == 29  # a token a step after the one that read the prompt
        assert len(tower.runs) == 1
    told = drain(one, told)
    assert said(told["words"]) == alone
    assert said(told["seen"]) == tiny.greedy(NAME, 2)


def test_words_that_arrive_later_do_not_wait_for_a_picture():
    target, tower = scene()
    one = engine(target)
    with held(tower):
        one.submit(Request("seen", SEEN, msgspec.structs.replace(GREEDY, n=3)))
        one.step()
        one.submit(Request("words", WORDS, GREEDY))
        told = {}
        while "words" not in told or told["words"][-1].finish_reason is None:
            for delta in one.step():
                told.setdefault(delta.request_id, []).append(delta)
        assert set(told) == {"words"}
    seen = drain(one)["seen"]
    for choice in range(3):
        of = [delta for delta in seen if delta.choice == choice]
        assert said(of) == tiny.greedy(NAME, 2)
    assert sorted(tower.runs) == sorted(set(digests(SEEN)))


def test_with_nothing_else_to_do_a_step_waits_and_does_not_spin():
    target, tower = scene()
    one = engine(target)
    one.submit(Request("seen", SEEN, GREEDY))
    steps, began, busy = 0, time.perf_counter(), time.thread_time()
    with held(tower):
        while time.perf_counter() - began < 0.5:
            assert one.step() == []
            steps += 1
        assert 3 <= steps <= 40
        assert time.thread_time() - busy < 0.2
    assert said(drain(one)["seen"]) == tiny.greedy(NAME, 2)


@pytest.mark.parametrize("limit", [256 << 20, 0])
def test_cancel_while_encoding_frees_everything(limit):
    target, tower = scene()
    one = engine(target, picture_cache_bytes=limit)
    with held(tower):
        one.submit(Request("seen", SEEN, msgspec.structs.replace(GREEDY, n=2)))
        one.step()
        one.cancel("seen")
        told = drain(one)["seen"]
        assert [delta.finish_reason for delta in told] == ["cancelled"] * 2
        assert not one.busy
        assert one.cache.used == 0
        assert one.stats.running == one.stats.waiting == one.stats.picture_bytes == 0
    assert run(one, {"again": SEEN}, GREEDY)["again"] == tiny.greedy(NAME, 2)
    assert len(tower.runs) <= 1 + len(SEEN.media)  # at most the one under way was for nothing
    if not limit:
        assert one.stats.picture_bytes == 0


def test_a_picture_that_cannot_be_encoded_ends_its_own_request_only(monkeypatch):
    bad = tiny.prompts(NAME)[1]
    target, tower = scene(fails=digests(bad))
    other = tiny.prompts(NAME)[0]
    assert not set(digests(bad)) & set(digests(other))
    monkeypatch.setattr("mmspec.model.encoder._log.error", lambda *_, **__: None)
    one = engine(target)
    prompts = {"words": WORDS, "bad": bad, "other": other}
    plain = run(engine(tiny.target(NAME)), {"words": WORDS}, GREEDY)["words"]
    for id, prompt in prompts.items():
        one.submit(Request(id, prompt, GREEDY))
    told = drain(one)
    assert said(told["words"]) == plain
    assert said(told["other"]) == tiny.greedy(NAME, 0)
    assert [delta.finish_reason for delta in told["bad"]] == ["error"]
    assert told["bad"][0].error
    assert "secret" not in told["bad"][0].error
    assert one.cache.used == 0
    tower.fails = ()
    assert run(one, {"again": bad}, GREEDY)["again"] == tiny.greedy(NAME, 1)


def test_a_prompt_found_in_the_prefix_cache_needs_no_tower():
    target, tower = scene()
    one = engine(target, prefix_cache=True, picture_cache_bytes=0)
    last = SEEN.media[-1]
    assert last.start + last.length < len(SEEN.ids) // CHUNK * CHUNK  # all in whole chunks
    for _ in range(2):
        assert run(one, {"seen": SEEN}, GREEDY)["seen"] == tiny.greedy(NAME, 2)
    assert len(tower.runs) == len(SEEN.media)
    assert one.stats.reused_tokens > last.start


@seeing
def test_the_same_ids_with_another_picture_are_read_anew(name):
    prompt = tiny.prompts(name)[2]
    first, *rest = prompt.media
    pixels = first.inputs["pixel_values"]
    blank = {**first.inputs, "pixel_values": torch.zeros_like(pixels)}
    other = Prompt(prompt.ids, (replace(first, digest="blank", inputs=blank), *rest))
    cold = run(engine(tiny.target(name)), {"other": other}, GREEDY)["other"]
    one = engine(tiny.target(name), prefix_cache=True)
    assert run(one, {"seen": prompt}, GREEDY)["seen"] == tiny.greedy(name, 2) != cold
    one.submit(Request("other", other, GREEDY))
    told = drain(one)["other"]
    assert said(told) == cold
    assert told[-1].cached_tokens <= first.start


def test_a_prompt_that_ends_in_a_picture_is_refused():
    target, _ = scene()
    last = SEEN.media[-1]
    one = engine(target)
    with pytest.raises(BadRequestError, match="end in a picture"):
        one.submit(Request("seen", Prompt(SEEN.ids[: last.start + last.length], SEEN.media)))
    assert not one.busy
