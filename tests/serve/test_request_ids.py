"""The id a client chooses names nothing of ours: callers who choose the same one stay strangers."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import tiny
from running import engine, run
from serve.conftest import running
from serve.fake import ByteProcessor, ScriptedEngine

from mmspec.core.errors import EngineFaultError
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.serve.bridge import Bridge

COUNT = 120
SAME = {"x-request-id": "the-same"}
PROMPTS = ("the way of it", "another way, and rather a longer one")


def ids(text):
    return Prompt(np.array(list(text.encode()), np.int64))


@pytest.fixture
def served():
    """A tiny llama that takes a few milliseconds a step, and how many it ever served at a time."""
    target = tiny.target("llama", "bitwise")
    greedy = Sampling(temperature=0.0, max_tokens=COUNT)
    alone = {text: run(engine(target), {"a": ids(text)}, greedy)["a"] for text in PROMPTS}
    one = engine(target)
    step, together = one.step, [0]

    def slowly():
        together[0] = max(together[0], len(one.scheduler.running))
        time.sleep(0.005)
        return step()

    one.step = slowly
    with running(one, ByteProcessor()) as server:
        yield server, alone, together


def test_the_same_id_at_the_same_time(served):
    server, alone, together = served

    def ask(text):
        tokens, names = [], set()
        with server.client(timeout=5) as client:
            answer = client.completions.with_raw_response.create(
                model="fake/model", prompt=text, max_tokens=COUNT, temperature=0, stream=True,
                extra_body={"return_token_ids": True}, extra_headers=SAME,
            )  # fmt: skip
            for chunk in answer.parse():
                names.add(chunk.id)
                for choice in chunk.choices:
                    tokens += choice.model_extra.get("token_ids") or []
        return tokens, names, answer.headers["x-request-id"]

    with ThreadPoolExecutor(2) as pool:
        (first, one, told), (second, other, told_too) = pool.map(ask, PROMPTS)
    assert together[0] == 2  # or this would show nothing
    assert [first, second] == [alone[text] for text in PROMPTS]
    assert told == told_too == "the-same"
    assert len(one) == len(other) == 1
    assert one != other
    assert not any("the-same" in name for name in one | other)


def test_hanging_up_ends_no_other_request_of_that_id(served):
    server, alone, together = served
    body = {"model": "fake/model", "max_tokens": COUNT, "temperature": 0, "stream": True}
    with server.client(timeout=5) as client:
        stays = client.completions.create(
            **body | {"prompt": PROMPTS[0]}, extra_headers=SAME,
            extra_body={"return_token_ids": True},
        )  # fmt: skip
        told = iter(stays)
        chunks = [next(told)]
        with httpx.stream(
            "POST", f"{server.url}/v1/completions", json=body | {"prompt": PROMPTS[1]},
            headers=SAME, timeout=5,
        ) as leaves:  # fmt: skip
            next(leaves.iter_lines())
        chunks += told
    tokens = [
        token
        for chunk in chunks
        for choice in chunk.choices
        for token in choice.model_extra.get("token_ids") or []
    ]
    assert together[0] == 2
    assert tokens == alone[PROMPTS[0]]


def test_the_bridge_delivers_to_one_caller_alone():
    async def talk():
        bridge = Bridge(ScriptedEngine(pause=0.01))
        bridge.start()
        try:
            request = Request("a", ids("x"), Sampling(max_tokens=60))
            ticket = await bridge.submit([request])
            for several in ([request], [Request("b", ids("x")), Request("b", ids("y"))]):
                with pytest.raises(EngineFaultError):
                    await bridge.submit(several)
            said = 0
            while said < 60:
                said += sum(len(delta.tokens) for delta in await ticket.take())
            return said, bridge.open_calls
        finally:
            await bridge.close()

    assert asyncio.run(asyncio.wait_for(talk(), 20)) == (60, 1)
