"""The loop: continuous batching, cancelling, faults that stay with their owner, prefix reuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
from drafting import Random
from running import engine, run

from mmspec.core.drafter import Needs
from mmspec.core.errors import BadRequestError, OverloadedError
from mmspec.core.request import Prompt, Request, Sampling, Speculation

RNG = np.random.default_rng(0)
GREEDY = Sampling(temperature=0.0, max_tokens=24)


@pytest.fixture(scope="module")
def target():
    return tiny.target("llama", "bitwise")


def text(length: int, seed: int = 0) -> Prompt:
    return Prompt(np.random.default_rng(seed).integers(3, 90, length))


def drain(engine, deltas=None):
    """Every Delta until the engine is idle, by request."""
    told: dict[str, list] = {}
    while engine.busy:
        for delta in engine.step():
            told.setdefault(delta.request_id, []).append(delta)
    return told


def said(deltas):
    return [token for delta in deltas for token in delta.tokens]


class Broken:
    """Raises whenever a sequence of the named request is among those asked for."""

    def __init__(self, victim: str, where: str) -> None:
        self.needs = Needs()
        self.victim, self.where = victim, where

    def observe(self, sequences, seen):
        self._maybe(sequences, "observe")

    def draft(self, sequences, budgets):
        self._maybe(sequences, "draft")
        return Random(90).draft(sequences, budgets)

    def forget(self, id):
        if self.where == "forget":
            raise RuntimeError("forget")

    def _maybe(self, sequences, where):
        if where == self.where and any(one.request.id == self.victim for one in sequences):
            raise RuntimeError(where)


def test_arrivals_at_any_time_change_nobodys_text(target):
    prompts = {f"r{i}": text(n, i) for i, n in enumerate((1, 33, 70, 150, 40, 7))}
    alone = {id: run(engine(target), {id: prompt}, GREEDY)[id] for id, prompt in prompts.items()}
    busy = engine(target, {"text.random": Random(90)}, max_sequences=3)
    waiting = list(prompts.items())
    together: dict[str, list[int]] = {}
    step = 0
    while waiting or busy.busy:
        if waiting and step % 3 == 0:
            id, prompt = waiting.pop()
            busy.submit(Request(id, prompt, GREEDY))
        for delta in busy.step():
            together.setdefault(delta.request_id, []).extend(delta.tokens)
        step += 1
    assert together == alone


def test_cancel_frees_everything_in_one_step(target):
    one = engine(target, {"text.random": Random(90)})
    for id in ("a", "b"):
        one.submit(Request(id, text(100), GREEDY))
    for _ in range(6):
        one.step()
    one.cancel("a")
    one.cancel("a")
    one.cancel("nobody")
    last = [delta for delta in one.step() if delta.request_id == "a"]
    assert [delta.finish_reason for delta in last] == ["cancelled"]
    assert last[0].report is not None
    one.cancel("b")
    one.step()
    assert not one.busy
    assert one.cache.used == 0
    assert one.stats.running == one.stats.waiting == 0


def test_a_waiting_request_can_be_cancelled(target):
    one = engine(target, max_sequences=1)
    for id in ("a", "b"):
        one.submit(Request(id, text(40), GREEDY))
    one.step()
    one.cancel("b")
    told = drain(one)
    assert [delta.finish_reason for delta in told["b"]] == ["cancelled"]
    assert len(said(told["a"])) == GREEDY.max_tokens


@pytest.mark.parametrize("where", ["draft", "observe", "forget"])
def test_a_drafter_that_raises_is_off_for_that_request_alone(target, where):
    prompts = {"victim": text(40, 1), "other": text(50, 2)}
    plain = run(engine(target), prompts, GREEDY)
    one = engine(target, {"text.broken": Broken("victim", where)})
    for id, prompt in prompts.items():
        one.submit(Request(id, prompt, GREEDY))
    told = drain(one)
    assert {id: said(deltas) for id, deltas in told.items()} == plain
    reports = {id: deltas[-1].report for id, deltas in told.items()}
    if where != "forget":
        assert reports["victim"].off_reasons == {"text.broken": "failed: RuntimeError"}
    assert reports["other"].off_reasons == {}
    assert reports["other"].drafted > 0


def test_a_failed_batch_is_not_learnt_twice(target):
    class Diary:
        """Writes down all it is shown, and trips over the victim in the middle of a batch."""

        needs = Needs()

        def __init__(self):
            self.read, self.missed = {}, {}

        def observe(self, sequences, seen):
            for index, one in enumerate(sequences):
                if one.request.id == "victim" and one.cached > 60:
                    raise RuntimeError("tripped")
                start, end = seen.offsets[index : index + 2]
                self.missed.setdefault(one.request.id, one.cached - (end - start))
                self.read.setdefault(one.request.id, []).extend(seen.tokens[start:end])

        def draft(self, sequences, budgets):
            return Random(90).draft(sequences, budgets)

        def forget(self, id):
            self.read.pop(id.partition("/")[0], None)
            self.missed.pop(id.partition("/")[0], None)

    diary = Diary()
    one = engine(target, {"text.diary": diary})
    forget, kept = diary.forget, {}

    def remember(id):
        name = id.partition("/")[0]
        if name in diary.read:
            kept[name] = (diary.missed[name], list(diary.read[name]))
        forget(id)

    diary.forget = remember
    one.submit(Request("other", text(50, 2), GREEDY))
    one.submit(Request("victim", text(50, 1), GREEDY))
    told = drain(one)
    missed, read = kept["other"]
    whole = [*text(50, 2).ids.tolist(), *said(told["other"])]
    assert 0 < missed < len(whole)
    assert read == whole[missed : missed + len(read)]
    assert told["victim"][-1].report.off_reasons == {"text.diary": "failed: RuntimeError"}
    assert told["other"][-1].report.off_reasons == {}


def test_a_tree_that_cannot_be_verified_is_refused(target):
    class Wild:
        needs = Needs()

        def observe(self, sequences, seen): ...

        def draft(self, sequences, budgets):
            return Random(10_000).draft(sequences, budgets)

        def forget(self, id): ...

    one = engine(target, {"text.wild": Wild()})
    one.submit(Request("a", text(40), GREEDY))
    told = drain(one)["a"]
    assert said(told) == run(engine(target), {"a": text(40)}, GREEDY)["a"]
    assert told[-1].report.off_reasons == {"text.wild": "failed: ValueError"}


def test_a_fault_in_the_model_ends_its_own_request_only(target, monkeypatch):
    prompts = {"good": text(40, 1), "bad": text(45, 2)}
    plain = run(engine(target), prompts, GREEDY)
    one = engine(target)
    real = target.forward

    def forward(batch, cache, needs):
        output = real(batch, cache, needs)
        if (
            output.logits is not None
            and one.cache.base("bad/0") in batch.layout.base[: batch.count]
        ):
            raise MemoryError("secret detail")
        return output

    for id, prompt in prompts.items():
        one.submit(Request(id, prompt, GREEDY))
    monkeypatch.setattr(target, "forward", forward)
    with pytest.MonkeyPatch.context() as quiet:
        quiet.setattr("mmspec.engine.engine._log.exception", lambda *_: None)
        told: dict[str, list] = {}
        while one.busy:
            for delta in one.step():
                told.setdefault(delta.request_id, []).append(delta)
                if delta.finish_reason == "error":
                    monkeypatch.undo()
    assert said(told["good"]) == plain["good"]
    assert told["bad"][-1].finish_reason == "error"
    assert "secret" not in told["bad"][-1].error


def test_logits_that_are_not_numbers_end_their_own_request_only(target, monkeypatch):
    prompts = {"good": text(40, 1), "bad": text(45, 2)}
    plain = run(engine(target), prompts, GREEDY)
    one = engine(target)
    real = target.forward

    def forward(batch, cache, needs):
        output = real(batch, cache, needs)
        if output.logits is not None and "bad/0" in one._flights:
            rows = batch.layout.base[: batch.count] == one.cache.base("bad/0")
            logits = output.logits.clone()
            logits[rows] = float("nan")
            return replace(output, logits=logits)
        return output

    monkeypatch.setattr(target, "forward", forward)
    for id, prompt in prompts.items():
        one.submit(Request(id, prompt, GREEDY))
    told = drain(one)
    assert said(told["good"]) == plain["good"]
    assert told["bad"][-1].finish_reason == "error"


def test_choices_differ_share_their_prompt_and_repeat(target):
    sampling = Sampling(temperature=1.0, max_tokens=20, seed=7, n=3)

    def choices(drafters):
        one = engine(target, drafters, prefix_cache=True)
        one.submit(Request("a", text(140), sampling))
        told = drain(one)["a"]
        texts = {i: said([d for d in told if d.choice == i]) for i in range(3)}
        return texts, {d.choice: d.cached_tokens for d in told}

    plain, reused = choices({})
    assert len({tuple(tokens) for tokens in plain.values()}) == 3
    assert reused[0] == 0
    assert reused[1] == reused[2] == 128
    assert choices({"text.random": Random(90)})[0] == plain


def test_a_reused_prefix_gives_the_same_text_and_is_reported(target):
    prompt = text(200, 5)
    cold = run(engine(target), {"a": prompt}, GREEDY)["a"]
    warm = engine(target, prefix_cache=True)
    assert run(warm, {"a": prompt}, GREEDY)["a"] == cold
    longer = Prompt(np.concatenate([prompt.ids, text(30, 6).ids]))
    warm.submit(Request("b", longer, GREEDY))
    told = drain(warm)["b"]
    assert told[-1].cached_tokens == 192
    assert said(told) == run(engine(target), {"b": longer}, GREEDY)["b"]


def test_a_full_cache_makes_requests_wait_not_fail(target):
    room = 150 * target.bytes_per_token()
    tight = engine(target, cache_bytes=room)
    prompts = {f"r{i}": text(60, i) for i in range(4)}
    assert run(tight, prompts, GREEDY) == run(engine(target), prompts, GREEDY)
    with pytest.raises(BadRequestError, match="cache holds"):
        tight.submit(Request("big", text(140), GREEDY))


def test_limits_end_the_text_exactly(target):
    for limit in (1, 2, 5):
        told = run(
            engine(target, {"text.random": Random(90)}),
            {"a": text(40)},
            Sampling(temperature=0.0, max_tokens=limit),
        )
        assert len(told["a"]) == limit
    full = target.max_context - 40
    one = engine(target)
    one.submit(Request("a", text(40), Sampling(temperature=0.0)))
    told = drain(one)["a"]
    assert len(said(told)) == full
    assert told[-1].finish_reason == "length"


def test_stop_token_ends_the_text_and_is_told(target):
    plain = run(engine(target), {"a": text(40)}, GREEDY)["a"]
    stop = plain[10]
    sampling = Sampling(temperature=0.0, max_tokens=24, stop_token_ids=(stop,))
    one = engine(target, {"text.random": Random(90)})
    one.submit(Request("a", text(40), sampling))
    told = drain(one)["a"]
    assert said(told) == plain[: plain.index(stop) + 1]
    assert told[-1].finish_reason == "stop"


@pytest.mark.parametrize(
    ("prompt", "sampling", "speculation", "param"),
    [
        (Prompt(np.zeros(0, np.int64)), {}, {}, "prompt"),
        (text(5000), {}, {}, "messages"),
        (Prompt(np.array([10_000])), {}, {}, "prompt"),
        (text(5), {"logit_bias": {10_000: 1.0}}, {}, "logit_bias"),
        (text(5), {"stop_token_ids": (-1,)}, {}, "stop_token_ids"),
        (text(5), {"bad_words": ((10_000,),)}, {}, "bad_words"),
        (text(5), {"temperature": float("nan")}, {}, "temperature"),
        (text(5), {"top_p": 0.0}, {}, "top_p"),
        (text(5), {}, {"drafters": ("text.nobody",)}, "speculation.drafters"),
        (text(5), {}, {"max_nodes": 0}, "speculation.max_nodes"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(target, prompt, sampling, speculation, param):
    one = engine(target)
    with pytest.raises(BadRequestError) as refusal:
        one.submit(Request("a", prompt, Sampling(**sampling), Speculation(**speculation)))
    assert refusal.value.param == param
    assert not one.busy


def test_a_full_queue_says_so(target):
    one = engine(target, max_queue=2)
    one.submit(Request("a", text(5), Sampling(n=2)))
    with pytest.raises(OverloadedError):
        one.submit(Request("b", text(5)))


def test_close_cancels_everything(target):
    one = engine(target)
    one.submit(Request("a", text(40), Sampling(n=2)))
    one.step()
    one.close()
    assert {d.finish_reason for d in drain(one)["a"]} == {"cancelled"}
    assert one.cache.used == 0


def test_long_prefill_runs_beside_decoding(target):
    one = engine(target, step_tokens=40)
    one.submit(Request("short", text(10), Sampling(temperature=0.0, max_tokens=12)))
    one.step()
    one.submit(Request("long", text(300), GREEDY))
    early = []
    for _ in range(8):
        early += [delta.request_id for delta in one.step() if delta.tokens]
    assert early == ["short"] * 8


def test_an_id_in_flight_is_refused_before_anything_is_touched(target):
    """Were it taken, the two would share slots, and the news of either would be told to both."""
    prompts = {"a": text(70, 1), "b": text(40, 2)}
    alone = {id: run(engine(target), {id: prompt}, GREEDY)[id] for id, prompt in prompts.items()}
    one = engine(target)
    one.submit(Request("a", prompts["a"], Sampling(temperature=0.0, max_tokens=24, n=2)))
    told: dict[str, list] = {}
    for _ in range(6):  # waiting, then read, then saying something
        before = (one.stats.waiting, one.stats.running, one.cache.used, dict(one.stats.routed))
        with pytest.raises(BadRequestError) as refusal:
            one.submit(Request("a", prompts["b"], GREEDY))
        assert refusal.value.param == "id"
        after = (one.stats.waiting, one.stats.running, one.cache.used, dict(one.stats.routed))
        assert after == before
        for delta in one.step():
            told.setdefault(delta.request_id, []).append(delta)
    one.cancel("a", 0)  # one choice is left
    with pytest.raises(BadRequestError):
        one.submit(Request("a", prompts["b"], GREEDY))
    for id, deltas in drain(one).items():
        told.setdefault(id, []).extend(deltas)
    assert said(delta for delta in told["a"] if delta.choice == 1) == alone["a"]
    assert one.cache.used == 0
    one.submit(Request("a", prompts["b"], GREEDY))  # once it is over, the id is free
    assert said(drain(one)["a"]) == alone["b"]


def test_the_cache_can_be_measured_while_it_is_opened(target):
    """Metrics are read beside the engine's thread."""
    cache = engine(target).cache

    class Extent:
        """One that is read in the moment in which another sequence comes."""

        base = 0

        @property
        def room(self):
            cache._extents["late"] = Extent()
            return 5

    cache._extents["early"] = Extent()
    assert cache.used == 5
