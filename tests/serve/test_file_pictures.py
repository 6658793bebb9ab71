"""Uploaded pictures in conversations: the same answer as when they are sent along."""

from __future__ import annotations

import base64

import httpx
import openai
import pytest
from serve.conftest import running
from serve.fake import ByteProcessor, ScriptedEngine
from serve.uploading import png

from mmspec.core.config import Config, FilesConfig, ServeConfig

CHAT = "/v1/chat/completions"
TEXT = {"type": "text", "text": "what?"}


@pytest.fixture(scope="module")
def server():
    config = Config(
        serve=ServeConfig(api_keys=("ann", "bob"), max_image_bytes=100_000),
        files=FilesConfig(owner_bytes=4 << 20),
    )
    with running(ScriptedEngine(), ByteProcessor(), config) as server:
        yield server


def client_of(server, key):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def ann(server):
    with client_of(server, "ann") as client:
        yield client


def kept(client, data=None, purpose="vision"):
    return client.files.create(file=("a.png", data or png()), purpose=purpose).id


def named(id):
    return {
        "file": {"type": "file", "file": {"file_id": id}},
        "image_url": {"type": "image_url", "image_url": {"file_id": id, "detail": "low"}},
        "input_image": {"type": "input_image", "file_id": id},
        "image": {"type": "image", "image": {"file_id": id}},
    }


PARAMS = {
    "file": "messages.0.content.1.file.file_id",
    "image_url": "messages.0.content.1.image_url.file_id",
    "input_image": "messages.0.content.1.file_id",
    "image": "messages.0.content.1.image.file_id",
}


def ask(client, part, **options):
    messages = [{"role": "user", "content": [TEXT, part]}]
    return client.chat.completions.create(
        model="fake/model", messages=messages, max_tokens=20, seed=5, **options
    )


@pytest.mark.parametrize("spelling", PARAMS)
@pytest.mark.parametrize("purpose", ["vision", "user_data"])
def test_the_same_answer(server, ann, spelling, purpose):
    url = "data:image/png;base64," + base64.b64encode(png("blue")).decode()
    seen = server.processor.pictures
    sent = ask(ann, {"type": "image_url", "image_url": {"url": url}}, logprobs=True)
    by_id = ask(ann, named(kept(ann, png("blue"), purpose))[spelling], logprobs=True)
    assert by_id.choices == sent.choices
    assert by_id.usage == sent.usage
    assert by_id.usage.prompt_tokens_details.image_tokens == 4
    assert seen[-1].tobytes() == seen[-2].tobytes()
    stream = ask(ann, named(kept(ann, png("blue"), purpose))[spelling], stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == sent.choices[0].message.content


@pytest.mark.parametrize("spelling", PARAMS)
def test_not_there_or_not_theirs(server, ann, spelling):
    id = kept(ann)
    with client_of(server, "bob") as bob:
        for wrong in (id, "file-" + "0" * 32, "", "../x", "' OR 1=1"):
            with pytest.raises(openai.NotFoundError) as caught:
                ask(bob, named(wrong)[spelling])
            assert caught.value.type == "invalid_request_error"
            assert caught.value.param == PARAMS[spelling]
            assert caught.value.body["message"] == f"No such File object: {wrong}"
    ann.files.delete(id)
    with pytest.raises(openai.NotFoundError):
        ask(ann, named(id)[spelling], stream=True)


@pytest.mark.parametrize("spelling", [spelling for spelling in PARAMS if spelling != "file"])
def test_no_picture(ann, spelling):
    for data, code in ((b"%PDF-1.4", "invalid_image_format"), (b"x" * 100_001, "image_too_large")):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(ann, named(kept(ann, data, "user_data"))[spelling])
        assert (caught.value.param, caught.value.code) == (PARAMS[spelling], code)


def test_odd_parts(ann):
    id = kept(ann)
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    for part, param in (
        ({"type": "file"}, "file.file_id"),
        ({"type": "file", "file": id}, "file.file_id"),
        ({"type": "file", "file": {"file_id": 5}}, "file.file_id"),
        ({"type": "file", "file": {"file_data": url, "file_id": id}}, "file.file_id"),
        ({"type": "file", "file": {"file_data": 5}}, "file.file_data"),
        ({"type": "file", "file": {"file_data": url[22:]}}, "file.file_data"),
        ({"type": "image_url", "image_url": {"file_id": [id]}}, "image_url.file_id"),
        ({"type": "image_url", "image_url": {"file_id": id, "url": url}}, "image_url.file_id"),
        ({"type": "input_image", "file_id": id, "image_url": url}, "file_id"),
        ({"type": "image_url", "image_url": {"url": id}}, "image_url.url"),
        ({"type": "image_url", "image_url": {}}, "image_url.url"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(ann, part)
        assert caught.value.param == f"messages.0.content.1.{param}"


def test_counted_as_one_would_ask(server, ann):
    headers = {"authorization": "Bearer ann"}
    messages = [{"role": "user", "content": [TEXT, named(kept(ann))["file"]]}]
    with httpx.Client(base_url=server.url, headers=headers) as raw:
        body = {"model": "fake/model", "messages": messages}
        count = raw.post("/tokenize", json=body).json()["count"]
        answer = raw.post(CHAT, json=body | {"max_tokens": 1}).json()
    assert count == answer["usage"]["prompt_tokens"]
