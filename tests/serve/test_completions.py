"""The older route, and the small ones."""

from __future__ import annotations

import httpx
import openai
import pytest
from serve.fake import TEXT

MODEL = "fake/model"


@pytest.mark.parametrize("prompt", ["go", list(b"go"), ["go"], [list(b"go")]])
def test_prompt_forms(client, prompt):
    answer = client.completions.create(model=MODEL, prompt=prompt)
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert answer.choices[0].text == TEXT[:16]  # sixteen tokens unless asked otherwise
    assert answer.usage.prompt_tokens == 2


@pytest.mark.parametrize("stream", [False, True])
def test_batch_and_echo(client, stream):
    asked = {"model": MODEL, "prompt": ["one", "three"], "n": 2, "max_tokens": 7, "echo": True}
    texts, ends = [""] * 4, []
    if stream:
        for chunk in client.completions.create(**asked, stream=True):
            (choice,) = chunk.choices
            texts[choice.index] += choice.text
            ends += [choice.index] * (choice.finish_reason == "length")
        assert sorted(ends) == [0, 1, 2, 3]
    else:
        answer = client.completions.create(**asked)
        texts = [choice.text for choice in answer.choices]
        assert answer.usage.prompt_tokens == 8
        assert answer.usage.prompt_tokens_details.cached_tokens == 6
        assert answer.usage.completion_tokens == 28
    assert texts == [prompt + TEXT[i : i + 7] for prompt in ("one", "three") for i in range(2)]


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(client, stream):
    asked = {"model": MODEL, "prompt": "go", "max_tokens": 12, "logprobs": 2}
    if stream:
        chunks = list(client.completions.create(**asked, stream=True))
        parts = [c.choices[0].logprobs for c in chunks if c.choices[0].logprobs]
        tokens = [t for part in parts for t in part.tokens]
        offsets = [o for part in parts for o in part.text_offset]
    else:
        logprobs = client.completions.create(**asked).choices[0].logprobs
        tokens, offsets = logprobs.tokens, logprobs.text_offset
        assert all(len(top) == 2 for top in logprobs.top_logprobs)
        assert logprobs.token_logprobs == [-0.25] * 12
    assert "".join(tokens) == TEXT[:12]
    assert offsets == list(range(12))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [300]}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"best_of": 3}, "best_of"),
        ({"suffix": "x"}, "suffix"),
        ({"logprobs": 21}, "logprobs"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 0, "echo": True}, "max_tokens"),
    ],
    ids=str,
)
def test_refusals(raw, change, param):
    response = raw.post("/v1/completions", json={"model": MODEL, "prompt": "x"} | change)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_one_bad_prompt_frees_the_others(raw, door):
    door.wait_for(lambda: not door.engine.runs)
    body = {"model": MODEL, "prompt": ["fine", "x" * 3000], "max_tokens": 2000}
    assert raw.post("/v1/completions", json=body).status_code == 400
    door.wait_for(lambda: not door.engine.runs, seconds=1)


def test_models(client):
    (model,) = client.models.list().data
    assert model.id == MODEL
    assert model.model_extra["max_model_len"] == 2048
    assert model.model_extra["mmspec"]["modalities"] == ["text", "image"]
    assert client.models.retrieve(MODEL).id == MODEL


def test_small_routes(raw):
    for path in ("/health", "/live", "/ready"):
        assert raw.get(path).json() == {"status": "ok"}
    assert raw.get("/version").json()["version"]


def test_metrics(raw, client):
    client.completions.create(model=MODEL, prompt="go", max_tokens=5)
    text = raw.get("/metrics").text
    for name in (
        "mmspec_num_requests_running", "mmspec_num_requests_waiting", "mmspec_prompt_tokens_total",
        "mmspec_generation_tokens_total", 'mmspec_request_success_total{finished_reason="length"}',
        "mmspec_time_to_first_token_seconds_bucket", "mmspec_e2e_request_latency_seconds_bucket",
        "mmspec_spec_decode_num_draft_tokens_total", "mmspec_kv_cache_usage_perc",
        'mmspec_http_requests_total{route="/v1/completions",status="200"}',
    ):  # fmt: skip
        assert name in text


def test_async_client_many_at_once(door):
    import asyncio  # noqa: PLC0415

    async def one(client, i):
        stream = await client.completions.create(
            model=MODEL, prompt=f"go {i}", max_tokens=40 + i, stream=True
        )
        return "".join([chunk.choices[0].text async for chunk in stream])

    async def all_of_them():
        async with openai.AsyncOpenAI(
            base_url=f"{door.url}/v1", api_key="x", max_retries=0, http_client=httpx.AsyncClient()
        ) as client:
            return await asyncio.gather(*(one(client, i) for i in range(16)))

    texts = asyncio.run(all_of_them())
    whole = (TEXT * 3).encode()
    assert texts == [whole[: 40 + i].decode("utf-8", "replace") for i in range(16)]
