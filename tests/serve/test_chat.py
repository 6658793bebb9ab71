"""Chat completions through the official client."""

from __future__ import annotations

import json

import pytest
from serve.fake import TEXT

MODEL = "fake/model"
ENDS = [{"role": "user", "content": "say it !end"}]
GOES_ON = [{"role": "user", "content": "say it"}]


def test_whole_answer(client):
    answer = client.chat.completions.create(model=MODEL, messages=ENDS)
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == TEXT
    assert choice.finish_reason == "stop"
    assert answer.usage.completion_tokens == len(TEXT.encode()) + 1  # the end counts, as in vLLM
    assert answer.usage.prompt_tokens == len(b"say it !end\n")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert "mmspec" not in answer.model_extra


def test_golden_stream_order(raw):
    body = {
        "model": MODEL,
        "messages": GOES_ON,
        "stream": True,
        "max_tokens": 12,
        "stream_options": {"include_usage": True},
    }
    with raw.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-request-id"]
        assert int(response.headers["openai-processing-ms"]) >= 0
        assert int(response.headers["x-mmspec-queue-ms"]) >= 0
        lines = [line for line in response.iter_lines() if line and not line.startswith(":")]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert all(c["object"] == "chat.completion.chunk" for c in chunks)
    assert len({(c["id"], c["created"], c["model"]) for c in chunks}) == 1
    first, *content, finish, usage = chunks
    assert first["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }
    ]
    assert [list(c["choices"][0]["delta"]) for c in content] == [["content"]] * len(content)
    assert "".join(c["choices"][0]["delta"]["content"] for c in content) == TEXT[:12]
    assert all(c["choices"][0]["finish_reason"] is None for c in content)
    assert finish["choices"][0]["delta"] == {}
    assert finish["choices"][0]["finish_reason"] == "length"
    assert all(c["usage"] is None for c in chunks[:-1])
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 12


def test_stream_without_usage(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=ENDS, stream=True, stream_options={}
    )
    chunks = list(stream)
    assert all(chunk.usage is None for chunk in chunks)
    assert all(len(chunk.choices) == 1 for chunk in chunks)
    assert all(chunk.choices[0].delta.content for chunk in chunks[1:-1])
    assert "usage" not in chunks[0].model_dump(exclude_unset=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == TEXT


def test_running_usage(client):
    stream = client.chat.completions.create(
        model=MODEL,
        messages=GOES_ON,
        stream=True,
        max_tokens=10,
        stream_options={"include_usage": True, "continuous_usage_stats": True},
    )
    counts = [chunk.usage.completion_tokens for chunk in stream]
    assert counts == sorted(counts)
    assert counts[-1] == 10


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices(client, stream):
    asked = {"model": MODEL, "messages": GOES_ON, "n": 3, "max_tokens": 11}
    texts, roles, ends = ["", "", ""], [], []
    if stream:
        for chunk in client.chat.completions.create(**asked, stream=True):
            (choice,) = chunk.choices
            texts[choice.index] += choice.delta.content or ""
            roles += [choice.index] * (choice.delta.role is not None)
            ends += [choice.index] * (choice.finish_reason == "length")
        assert roles == sorted(ends) == [0, 1, 2]
    else:
        answer = client.chat.completions.create(**asked)
        texts = [choice.message.content for choice in answer.choices]
        assert answer.usage.completion_tokens == 33
        assert answer.usage.prompt_tokens == len(b"say it\n")  # once, however many choices
    assert texts == [TEXT[i : 11 + i] for i in range(3)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("include", [False, True])
def test_stop_string_across_steps(client, door, stream, include):
    text = TEXT[: TEXT.index("fox —")]
    asked = {
        "model": MODEL,
        "messages": GOES_ON,
        "stop": ["never", "fox —"],
        "extra_body": {"include_stop_str_in_output": include, "speculation": {"report": True}},
    }
    if stream:
        chunks = list(
            client.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
        )
        got = "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
        finish, usage = chunks[-2].choices[0], chunks[-1].usage
        report = chunks[-1].model_extra["mmspec"]
    else:
        answer = client.chat.completions.create(**asked)
        got, finish, usage = answer.choices[0].message.content, answer.choices[0], answer.usage
        report = answer.model_extra["mmspec"]
    assert got == text + "fox —" * include
    assert finish.finish_reason == "stop"
    assert finish.model_extra["stop_reason"] == "fox —"
    assert usage.completion_tokens == len((text + "fox —").encode())
    assert report["seed"] == 7
    assert report["speculation"]["tau"] == 2.0
    door.wait_for(lambda: not door.engine.runs)


def test_stop_token(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=GOES_ON, extra_body={"stop_token_ids": [ord("k")]}
    )
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].model_extra["stop_reason"] == ord("k")


@pytest.mark.parametrize("top", [None, 0, 3])
@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(client, top, stream):
    asked = {"model": MODEL, "messages": GOES_ON, "max_tokens": 30, "logprobs": True}
    if top is not None:
        asked["top_logprobs"] = top
    if stream:
        chunks = list(client.chat.completions.create(**asked, stream=True))
        contents = [c.choices[0].logprobs.content for c in chunks if c.choices[0].logprobs]
        entries = [entry for content in contents for entry in content]
    else:
        entries = client.chat.completions.create(**asked).choices[0].logprobs.content
    assert len(entries) == 30
    assert bytes(b for e in entries for b in e.bytes) == TEXT.encode()[:30]
    assert all(e.logprob == -0.25 and len(e.top_logprobs) == (top or 0) for e in entries)


def test_unicode_is_never_split(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "!slow !end"}], stream=True
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(pieces) == TEXT
    assert "\ufffd" not in "".join(pieces)


def test_report_on_the_last_finish_chunk(client):
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=GOES_ON,
            max_tokens=9,
            n=2,
            seed=-5,
            stream=True,
            extra_body={"speculation": {"report": True, "enabled": False}},
        )
    )
    assert ["mmspec" in c.model_extra for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices[0].finish_reason == "length"
    report = chunks[-1].model_extra["mmspec"]
    assert report["seed"] == -5
    assert (report["speculation"]["rounds"], report["speculation"]["drafted"]) == (6, 16)


@pytest.mark.parametrize(("asked", "told"), [({"transfer": 5.0}, True), ({}, False)])
def test_what_is_not_lossless_says_so_unasked(client, asked, told):
    answer = client.chat.completions.create(
        model=MODEL, messages=GOES_ON, max_tokens=9, extra_body={"speculation": asked}
    )
    assert ("mmspec" in answer.model_extra) == told


def test_token_ids_and_ignored_fields(client):
    response = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "developer", "content": "be"}, *GOES_ON],
        max_tokens=4,
        user="me",
        extra_body={"return_token_ids": True, "frobnicate": 1, "bad\r\nname": 2},
        extra_headers={"x-request-id": "my-id_1"},
    )
    assert response.headers["x-mmspec-ignored-fields"] == "frobnicate"
    assert response.headers["x-request-id"] == "my-id_1"
    answer = response.parse()
    assert answer.choices[0].model_extra["token_ids"] == list(TEXT.encode()[:4])
    assert bytes(answer.model_extra["prompt_token_ids"]) == b"be\nsay it\n"


def test_max_tokens_forms(client):
    both = client.chat.completions.create(
        model=MODEL, messages=GOES_ON, max_tokens=5, max_completion_tokens=3
    )
    assert both.usage.completion_tokens == 3
    # More than remains, less than the context: generation ends with "length".
    clamped = client.chat.completions.create(model=MODEL, messages=GOES_ON, max_tokens=2048)
    assert clamped.choices[0].finish_reason == "length"
    assert clamped.usage.total_tokens == 2048


def test_stop_string_ends_one_choice_of_several(client):
    """Choices start one letter apart, so each meets the stop string a token earlier."""
    answer = client.chat.completions.create(
        model=MODEL, messages=GOES_ON, n=3, stop="quick", max_tokens=40
    )
    assert [c.message.content for c in answer.choices] == ["The ", "he ", "e "]
    chunks = client.chat.completions.create(
        model=MODEL, messages=GOES_ON, n=3, stop=" quick", max_tokens=60, stream=True,
        extra_body={"speculation": {"report": True}},
    )  # fmt: skip
    *_, last = chunks
    assert last.model_extra["mmspec"]["speculation"]["rounds"] == 9
