"""The client against a server that is slow, fails, or breaks off: always an outcome."""

from __future__ import annotations

import asyncio

import pytest
from evals.serving.stub import stubbed
from mmspec_evals.errors import EvalError
from mmspec_evals.serving.client import Asking, ask
from mmspec_evals.serving.job import Job
from mmspec_evals.serving.run import Plan, bench, client, first_model

ASKING = Asking(model="stub")


def job(text, tokens=8):
    return Job([{"role": "user", "content": text}], text, tokens)


def told(texts, asking=ASKING, delay=0.0, plan=None, warm=()):
    async def run(url):
        async with client(url) as http:
            if plan is not None:
                return await bench(http, asking, [job(text) for text in texts], plan, warm)
            return [await ask(http, asking, job(text), place) for place, text in enumerate(texts)]

    with stubbed(delay) as (server, url):
        return asyncio.run(run(url)), server


@pytest.mark.parametrize("chat", [True, False])
def test_a_good_answer(chat):
    (outcome,), server = told(["two words"], Asking(model="stub", chat=chat), delay=0.05)
    assert outcome.ok
    assert outcome.text == "w0 w2 w4 w6 "
    assert (outcome.prompt_tokens, outcome.output_tokens) == (2, 8)
    assert len(outcome.gaps) == 3  # eight tokens came in four chunks
    assert 0.05 <= outcome.ttft < 0.15
    assert 0.25 <= outcome.latency < 0.5
    # By tokens, not by chunks: the gap of 50 ms and the wait for the end over seven tokens.
    assert outcome.tpot == pytest.approx((outcome.latency - outcome.ttft) / 7)
    assert outcome.tpot < sum(outcome.gaps) / 3
    (body,) = server.bodies
    assert body["stream_options"] == {"include_usage": True}
    assert ("max_completion_tokens" in body) == chat


def test_what_is_sent():
    asking = Asking(
        model="stub", temperature=0.5, seed=7, ignore_eos=True,
        extra={"speculation": {"enabled": False}},
    )  # fmt: skip
    _, server = told(["a", "b"], asking)
    assert [body["seed"] for body in server.bodies] == [7, 8]
    assert server.bodies[0]["temperature"] == 0.5
    assert server.bodies[0]["ignore_eos"] is True
    assert server.bodies[0]["speculation"] == {"enabled": False}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("!fail", "HTTP 503: too busy"),
        ("!cut", "the stream ended before"),
        ("!mid", "lost my mind"),
        ("!junk", "cannot be read"),
    ],
)
def test_failures_are_outcomes(text, said):
    (outcome, next_one), _ = told([text, "fine"])
    assert not outcome.ok
    assert said in outcome.error
    assert next_one.ok


def test_odd_but_whole_answers():
    (mute, silent), _ = told(["!mute", "!silent"])
    assert mute.ok
    assert (mute.counted, mute.output_tokens) == (False, 4)  # chunks: all one can see
    assert silent.ok
    assert silent.ttft == silent.latency > 0


def test_nobody_there():
    async def run():
        async with client("http://127.0.0.1:9/v1") as http:
            outcome = await ask(http, ASKING, job("x"))
            with pytest.raises(EvalError, match="no models"):
                await first_model(http)
            return outcome

    assert "ConnectError" in asyncio.run(run()).error


def test_a_bench_counts_failures_and_goes_on():
    texts = ["fine", "!fail", "!cut", "fine", "!mute", "!mid"]
    found, server = told(texts, delay=0.01, plan=Plan(concurrency=2), warm=[job("warm", 4)])
    assert (found["completed"], found["failed"]) == (3, 3)
    assert found["total_output_tokens"] == 8 + 8 + 4
    assert found["uncounted"] == 1
    assert [bool(error) for error in found["errors"]] == [False, True, True, False, False, True]
    assert server.most == 2
    assert len(server.bodies) == 7  # the warm-up came first and is not in the numbers
    assert "spec_decode_num_drafts" not in found  # no /metrics there
    assert found["request_rate"] == "inf"


def test_a_dead_server_is_noticed_before_the_load():
    with pytest.raises(EvalError, match="too busy"):
        told(["fine"], plan=Plan(), warm=[job("!fail")])
