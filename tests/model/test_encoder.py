"""The tower in its thread: once a picture, the same bits as anywhere, nothing left behind."""

from __future__ import annotations

import threading

import pytest
import tiny
import torch

from mmspec.core.request import Media, Prompt, Request
from mmspec.core.sequence import Sequence
from mmspec.model.encoder import Encoder
from mmspec.model.families.family import Encoded

CPU = torch.device("cpu")
MANY = 1 << 30
PATIENT = 30.0


class Tower:
    """Counts its runs; each waits until it is let go."""

    def __init__(self, *, gated=True, fails=()):
        self.runs, self.fails = [], fails
        self.began, self.gate = threading.Event(), threading.Event()
        if not gated:
            self.gate.set()

    def __call__(self, media):
        self.runs.append(media.digest)
        self.began.set()
        assert self.gate.wait(PATIENT)
        if media.digest in self.fails:
            raise MemoryError(media.digest)
        return Encoded(torch.full((media.length, 4), float(len(self.runs))))


def sequence(id, *digests, choice=0):
    media = tuple(Media(digest, 3 * k, 2, {}) for k, digest in enumerate(digests))
    ids = torch.zeros(3 * len(digests) + 1, dtype=torch.int64).numpy()
    return Sequence(Request(id, Prompt(ids, media)), choice, 0)


def settle(encoder):
    """Everything that is still awaited."""
    failures = encoder.collect()
    while encoder.wait(PATIENT):
        failures |= encoder.collect()
    return failures


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", tiny.SEEING)
def test_bits_are_those_of_a_call_in_this_thread_whatever_else_is_encoded(name, threads, dtype):
    target = tiny.target(name, dtype=dtype)
    pictures = tiny.prompts(name)[2].media
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone = {one.digest: target.encode(one) for one in pictures}
        encoder = Encoder(target.encode, MANY, CPU)
        busy = Sequence(Request("a", tiny.prompts(name)[2]), 0, 0)
        encoder.order(busy)
        for _ in range(20):  # the tower's neighbours use this thread meanwhile
            torch.randn(64, 64) @ torch.randn(64, 64)
        settle(encoder)
    finally:
        torch.set_num_threads(before)
    for one in pictures:
        here, there = alone[one.digest], encoder.look(busy, one)
        assert torch.equal(here.embeds, there.embeds)
        assert len(here.deepstack) == len(there.deepstack) == 2 * (name == "qwen3_vl")
        assert all(map(torch.equal, here.deepstack, there.deepstack))


def test_it_returns_at_once_and_is_ready_when_all_is_there():
    tower = Tower()
    encoder = Encoder(tower, MANY, CPU)
    one = sequence("a", "x", "y", "x")
    encoder.order(one)
    assert tower.began.wait(PATIENT)
    assert not encoder.ready(one.id)
    assert encoder.wait(0.001)
    assert encoder.collect() == {}
    tower.gate.set()
    assert settle(encoder) == {}
    assert encoder.ready(one.id)
    assert tower.runs == ["x", "y"]
    assert encoder.look(one, one.prompt.media[1]).embeds[0, 0] == 2
    assert (encoder.hits, encoder.misses) == (1, 2)
    assert encoder.seconds > 0
    assert not encoder.wait(PATIENT)


def test_two_in_flight_share_one_run_and_a_later_one_needs_none():
    tower = Tower()
    encoder = Encoder(tower, MANY, CPU)
    first, second, third = (sequence(id, "x") for id in "abc")
    encoder.order(first)
    encoder.order(second)
    tower.gate.set()
    settle(encoder)
    assert encoder.ready(first.id)
    assert encoder.ready(second.id)
    encoder.release(first.id)
    encoder.release(second.id)
    encoder.order(third)
    assert encoder.ready(third.id)
    assert tower.runs == ["x"]
    assert (encoder.hits, encoder.misses) == (2, 1)


def test_what_is_cached_already_is_not_asked_for():
    tower = Tower(gated=False)
    encoder = Encoder(tower, MANY, CPU)
    one = sequence("a", "x", "y")  # tokens 0 to 2 and 3 to 5
    one.cached = 2
    encoder.order(one)
    settle(encoder)
    assert tower.runs == ["y"]


def test_a_limit_of_nothing_shares_between_choices_but_not_between_requests():
    tower = Tower()
    encoder = Encoder(tower, 0, CPU)
    flying = [sequence("a", "x"), sequence("a", "x", choice=1), sequence("b", "x")]
    for one in flying:
        encoder.order(one)
    tower.gate.set()
    settle(encoder)
    assert tower.runs == ["x", "x"]
    assert encoder.bytes == 2 * 2 * 4 * 4
    for one in flying:
        encoder.release(one.id)
    assert encoder.bytes == 0


def test_what_nobody_waits_for_any_more_is_not_begun():
    tower = Tower()
    encoder = Encoder(tower, MANY, CPU)
    gone, stays = sequence("a", "x", "y", "z"), sequence("b", "z")
    encoder.order(gone)
    encoder.order(stays)
    assert tower.began.wait(PATIENT)
    encoder.release(gone.id)
    encoder.release(gone.id)
    tower.gate.set()
    settle(encoder)
    assert tower.runs == ["x", "z"]  # x was under way
    assert encoder.ready(stays.id)
    encoder.reset()
    assert (encoder.hits, encoder.misses, encoder.seconds) == (0, 0, 0.0)


def test_a_picture_given_up_while_under_way_serves_the_next_one():
    tower = Tower()
    encoder = Encoder(tower, MANY, CPU)
    gone, late = sequence("a", "x"), sequence("b", "x")
    encoder.order(gone)
    assert tower.began.wait(PATIENT)
    encoder.release(gone.id)
    assert not encoder.wait(PATIENT)  # nobody waits
    encoder.order(late)
    tower.gate.set()
    settle(encoder)
    assert encoder.ready(late.id)
    assert tower.runs == ["x"]


def test_a_failure_is_told_to_those_who_wait_for_it_and_not_remembered():
    tower = Tower(fails={"x"})
    encoder = Encoder(tower, MANY, CPU)
    victim, other = sequence("a", "y", "x", "z"), sequence("b", "z")
    encoder.order(victim)
    encoder.order(other)
    tower.gate.set()
    failures = settle(encoder)
    assert list(failures) == [victim.id]
    assert isinstance(failures[victim.id], MemoryError)
    encoder.release(victim.id)
    assert encoder.ready(other.id)
    tower.fails = ()
    again = sequence("c", "x")
    encoder.order(again)
    assert settle(encoder) == {}
    assert encoder.ready(again.id)


def test_the_worker_goes_with_its_encoder():
    encoder = Encoder(Tower(gated=False), MANY, CPU)
    encoder.order(sequence("a", "x"))
    settle(encoder)
    (worker,) = encoder.worker._threads
    assert worker.is_alive()
    del encoder
    worker.join(PATIENT)
    assert not worker.is_alive()
