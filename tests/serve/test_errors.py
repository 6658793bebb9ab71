"""Every bad input of a client: an OpenAI-shaped 4xx, while another stream goes on undisturbed."""

from __future__ import annotations

import base64
import io
import itertools
import json
import socket
import struct
import threading
import zlib

import openai
import pytest
from PIL import Image
from serve.conftest import running
from serve.fake import CONTEXT, TEXT, ByteProcessor, ScriptedEngine

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hello"}]
GOOD = {"model": "fake/model", "messages": MESSAGES, "max_tokens": 3}


@pytest.fixture(scope="module")
def witness(door):
    """A stream that runs beside every bad request and must come out whole."""
    stop = threading.Event()
    faults, rounds = [], itertools.count()

    def watch():
        with door.client() as client:
            while not stop.is_set():
                stream = client.chat.completions.create(**GOOD | {"max_tokens": 400}, stream=True)
                text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
                whole = (TEXT.encode() * 20)[:400].decode("utf-8", "replace")
                if text != whole:
                    faults.append(text)
                next(rounds)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    stop.set()
    thread.join()
    assert not faults
    assert next(rounds) > 0


def check(response, status=400, param=None, code=None):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert len(error["message"]) < 500
    if param is not None:
        assert error["param"] == param
    if code is not None:
        assert error["code"] == code
    return error


BODIES = [
    ({"temperature": "5"}, "temperature", None),
    ({"temperature": True}, "temperature", None),
    ({"temperature": 3}, "temperature", None),
    ({"temperature": -0.1}, "temperature", None),
    ({"max_tokens": -1}, "max_tokens", None),
    ({"max_tokens": 0}, "max_tokens", None),
    ({"max_tokens": 10**30}, "max_tokens", None),
    ({"max_tokens": 1.5}, "max_tokens", None),
    ({"max_completion_tokens": CONTEXT + 1}, "max_tokens", None),
    ({"n": 0}, "n", None),
    ({"n": 17}, "n", None),
    ({"n": "1"}, "n", None),
    ({"top_p": 0}, "top_p", None),
    ({"min_p": 2}, "min_p", None),
    ({"seed": 2**70}, "seed", None),
    ({"stop": ["a"] * 17}, "stop", None),
    ({"stop": [""]}, "stop", None),
    ({"stop": 5}, "stop", None),
    ({"logit_bias": {"x": 1}}, "logit_bias", None),
    ({"logit_bias": {"5": 101}}, "logit_bias", None),
    ({"logit_bias": {"99999": 1}}, "logit_bias", None),
    ({"stop_token_ids": [-1]}, "stop_token_ids", None),
    ({"bad_words": [" "]}, "bad_words", None),
    ({"top_logprobs": 3}, "top_logprobs", None),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", None),
    ({"logprobs": 3}, "logprobs", None),
    ({"stream": "yes"}, "stream", None),
    ({"stream_options": {"include_usage": True}}, "stream_options", None),
    ({"speculation": {"foo": 1}}, "speculation.foo", None),
    ({"speculation": {"transfer": 21}}, "speculation.transfer", None),
    ({"speculation": {"max_nodes": 0}}, "speculation.max_nodes", None),
    ({"speculation": {"enabled": 1}}, "speculation.enabled", None),
    ({"speculation": {"drafters": ["text.magic"]}}, "speculation.drafters", None),
    ({"tools": [{"type": "function"}]}, "tools", "unsupported_parameter"),
    ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
    ({"allowed_token_ids": [5]}, "allowed_token_ids", "unsupported_parameter"),
    ({"messages": []}, "messages", None),
    ({"messages": "hi"}, "messages", None),
    ({"messages": [5]}, "messages.0", None),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role", None),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "messages.0.role", None),
    ({"messages": [{"role": "user"}]}, "messages.0.content", None),
    ({"messages": [{"role": "user", "content": [5]}]}, "messages.0.content.0.type", None),
    (
        {"messages": [{"role": "user", "content": [{"type": ["text"]}]}]},
        "messages.0.content.0.type",
        None,
    ),
    (
        {"messages": [{"role": "user", "content": "x" * CONTEXT}]},
        "messages",
        "context_length_exceeded",
    ),
    (
        {"messages": [{"role": "user", "content": "x" * (9 * CONTEXT)}]},
        "messages.0.content",
        "context_length_exceeded",
    ),
    (
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
        "messages.0.tool_calls",
        "unsupported_parameter",
    ),
]


@pytest.mark.parametrize(
    ("change", "param", "code"),
    BODIES,
    ids=[f"{i}-{next(iter(change))}" for i, (change, _, _) in enumerate(BODIES)],
)
def test_wrong_fields(raw, witness, change, param, code):
    check(raw.post(CHAT, json=GOOD | change), 400, param, code)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"nonsense", b"[]", b"5", b"\xff\xfe", b"{" * 100_000, b"[" * 100_000,
        json.dumps(GOOD | {"temperature": float("nan")}).encode(),
        json.dumps(GOOD | {"temperature": float("inf")}).encode(),
        json.dumps(GOOD).replace('"max_tokens": 3', '"max_tokens": ' + "9" * 5000).encode(),
        json.dumps(GOOD).replace("hello", "\\ud800").encode(),
        b'{"model":"fake/model","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"fake/model"}',
    ],
    ids=range(14),
)  # fmt: skip
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_broken_bodies(raw, witness, body, path):
    check(raw.post(path, content=body))


def test_unknown_things(raw, client, witness):
    check(raw.post(CHAT, json=GOOD | {"model": "gpt-9"}), 404, "model", "model_not_found")
    assert check(raw.get("/v1/nowhere"), 404)["type"] == "not_found_error"
    response = raw.get(CHAT)
    check(response, 405)
    assert "POST" in response.headers["allow"]
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**GOOD | {"temperature": 9})
    assert caught.value.param == "temperature"


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def ask_picture(raw, url, **change):
    part = {"type": "image_url", "image_url": {"url": url, **change}}
    text = {"type": "text", "text": "what?"}
    return raw.post(CHAT, json=GOOD | {"messages": [{"role": "user", "content": [part, text]}]})


def saved(image, form="PNG", **options) -> bytes:
    sink = io.BytesIO()
    image.save(sink, form, **options)
    return sink.getvalue()


def png_header(width, height):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


PATH = "messages.0.content.0.image_url"


@pytest.mark.parametrize("url", [
    "http://127.0.0.1/x.png", "https://example.com/x.png", "file:///etc/passwd", "/etc/passwd",
    "data:image/png,abc", "data:image/png;base64,@@@", "data:;base64", "",
    "data:image/png;base64,a",
])  # fmt: skip
def test_bad_urls(raw, witness, url):
    check(ask_picture(raw, url), 400, f"{PATH}.url", "invalid_image_url")


def test_bad_pictures(raw, witness):
    whole = saved(Image.effect_noise((64, 64), 50).convert("RGB"))
    cases = [whole[: len(whole) // 2], b"", b"GIF89a", b"%PDF-1.4", b"<svg></svg>", b"\0" * 2000,
             saved(Image.new("RGB", (8, 8)), "TIFF"), saved(Image.new("RGB", (8, 8)), "BMP"),
             saved(Image.new("RGB", (8, 8)), "ICO")]  # fmt: skip
    for data in cases:
        error = check(ask_picture(raw, uri(data)), 400, f"{PATH}.url", "invalid_image_format")
        assert "0x" not in error["message"]
    check(ask_picture(raw, uri(png_header(30_000, 30_000))), 400, f"{PATH}.url", "image_too_large")
    check(ask_picture(raw, uri(png_header(17_000, 10))), 400, f"{PATH}.url", "image_too_large")
    check(ask_picture(raw, 5), 400)
    part = {"type": "image_url", "image_url": {"url": uri(whole)}}
    many = GOOD | {"messages": [{"role": "user", "content": [part] * 17}]}
    check(raw.post(CHAT, json=many), 400, "messages.0.content.16.image_url")


def test_odd_but_good_pictures(raw, witness, door):
    frames = [Image.new("P", (9, 7), i) for i in range(3)]
    good = {
        "animated": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "cmyk": saved(Image.new("CMYK", (9, 7), (255, 0, 0, 0)), "JPEG"),
        "16 bit": saved(Image.new("I;16", (9, 7), 40_000)),
        "alpha": saved(Image.new("RGBA", (9, 7), (0, 0, 0, 0))),
        "webp": saved(Image.new("RGB", (9, 7)), "WEBP"),
        "bilevel": saved(Image.new("1", (9, 7))),
    }
    for data in good.values():
        response = ask_picture(raw, uri(data), detail="low")
        assert response.status_code == 200, response.text
        usage = response.json()["usage"]
        assert usage["prompt_tokens_details"]["image_tokens"] == 4
        picture = door.processor.pictures[-1]
        assert (picture.mode, picture.size) == ("RGB", (9, 7))


def test_several_pictures(client):
    part = {"type": "image_url", "image_url": {"url": uri(saved(Image.new("RGB", (5, 5))))}}
    content = [part, {"type": "text", "text": "and"}, part]
    answer = client.chat.completions.create(
        model="fake/model", messages=[{"role": "user", "content": content}], max_tokens=2
    )
    assert answer.usage.prompt_tokens == 4 + 3 + 4 + 1
    assert answer.usage.model_extra or answer.usage.prompt_tokens_details


def test_huge_declared_body(door, witness):
    """A client that announces a gigabyte gets its answer before it has sent it."""
    with socket.create_connection(("127.0.0.1", int(door.url.rsplit(":", 1)[1]))) as link:
        link.settimeout(10)
        link.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1073741824\r\n\r\n"
        )
        link.sendall(b" " * 100_000)
        answer = b""
        while data := link.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["error"]["code"] == "request_too_large"


def test_huge_streamed_body(raw, door, witness):
    """No length declared: counted as it comes, cut off at the limit."""
    block = b"x" * (1 << 20)
    response = raw.post(CHAT, content=(block for _ in range(20)))
    check(response, 413, code="request_too_large")
    assert raw.post(CHAT, json=GOOD).status_code == 200


def test_keys():
    from mmspec.core.config import Config, ServeConfig  # noqa: PLC0415

    config = Config(serve=ServeConfig(api_keys=("right-key", "other")))
    with running(ScriptedEngine(), ByteProcessor(), config) as server:
        import httpx  # noqa: PLC0415

        with httpx.Client(base_url=server.url) as http:
            for path in ("/v1/models", "/metrics", "/version", "/nowhere", "/"):
                response = http.get(path)
                assert check(response, 401)["type"] == "authentication_error"
                assert response.headers["www-authenticate"] == "Bearer"
            for path in ("/health", "/live", "/ready"):
                assert http.get(path).status_code == 200
            wrong = {"authorization": "Bearer wrong"}
            check(http.post(CHAT, json=GOOD, headers=wrong), 401)
            basic = {"authorization": "Basic right-key"}
            check(http.post(CHAT, json=GOOD, headers=basic), 401)
            right = {"authorization": "Bearer other"}
            assert http.post(CHAT, json=GOOD, headers=right).status_code == 200
            assert http.get("/nowhere", headers=right).status_code == 404
