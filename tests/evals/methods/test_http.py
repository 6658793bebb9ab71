"""Servers behind a URL: our own, and strangers with habits."""

from __future__ import annotations

import contextlib
import dataclasses
import socket

import pytest
from evals.methods import folders
from evals.methods.checks import check_counts
from evals.methods.scripted import CARD, DONE, USAGE, chunk, event, scripted
from mmspec_evals.errors import PlanError
from mmspec_evals.method import UnsupportedError
from mmspec_evals.methods.build import build_methods
from mmspec_evals.methods.http import UrlMethod
from mmspec_evals.methods.sse import ServerError, lines
from serve.conftest import running

from mmspec.engine.build import build

CHAT = [{"role": "user", "content": "Say it again, say it again: one two three"}]


def open_url(url):
    return contextlib.closing(UrlMethod(url, seconds=5))


def refused(url, why):
    with open_url(url) as method, pytest.raises(PlanError, match=why):
        _ = method.settings


def asking(case, messages=CHAT):
    return dataclasses.replace(case, messages=messages)


@pytest.fixture(scope="module")
def server(text):
    engine, processor = build(text.config)
    with running(engine, processor, text.config) as server:
        yield server


@pytest.fixture
def script():
    with scripted() as script:
        yield script


@pytest.fixture
def method(script):
    with open_url(script.url) as method:
        yield method


def test_our_own_server_says_what_its_engine_says(text, server):
    vanilla, url = build_methods(["vanilla", f"openai:{server.url}/v1"], text)
    prompt = text.processor.chat(CHAT, [])
    case = asking(dataclasses.replace(folders.case(max_tokens=48), prompt=prompt))
    meant, said = vanilla.generate(case), url.generate(case)
    assert said.ids == meant.ids
    assert said.text == meant.text
    assert said.tokens == 48
    assert said.prompt_tokens == len(prompt.ids)
    assert said.passes < 48
    check_counts(said)
    assert 0 < said.seconds.first < said.seconds.first + said.seconds.decode <= said.seconds.total
    assert url.lossless
    assert url.settings["server"] == "mmspec"
    assert not url.settings["cold"]
    url.close()


def test_an_end_token_counts(text, server, monkeypatch):
    vanilla, url = build_methods(["vanilla", f"openai:{server.url}/v1#text"], text)
    prompt = text.processor.text("bare text, to be continued")
    case = dataclasses.replace(
        folders.case(), prompt=prompt, text="bare text, to be continued", messages=None
    )
    whole = vanilla.generate(case).ids
    end = next(token for token in whole[6:] if whole.index(token) >= 6)
    monkeypatch.setattr(server.engine.target, "facts", dataclasses.replace(
        server.engine.target.facts, stop_tokens=frozenset({end})
    ))  # fmt: skip
    said = url.generate(case)
    assert said.ids == whole[: whole.index(end) + 1]
    assert said.finish_reason == "stop"
    check_counts(said)
    url.close()


def test_a_refusal_is_told_in_the_server_s_words(text, server):
    refusal = pytest.raises(UnsupportedError, match=r"HTTP 400: .*context")
    with open_url(f"{server.url}/v1") as url, refusal:
        url.generate(asking(folders.case(max_tokens=5000)))


def test_what_is_asked_of_a_stranger(script, method):
    method.generate(asking(folders.case(seed=7)))
    path, body = script.asked[0]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m", "max_tokens": 24, "temperature": 0.0, "seed": 7, "stream": True,
        "stream_options": {"include_usage": True}, "messages": CHAT,
    }  # fmt: skip
    assert not method.lossless
    with pytest.raises(UnsupportedError, match="end token"):
        method.generate(asking(folders.case(ignore_eos=True)))


def test_vllm_is_asked_for_ids_and_cold_caches(script, method):
    script.cards = [{**CARD, "owned_by": "vllm"}]
    method.generate(asking(folders.case()))
    method.generate(asking(folders.case()))
    (_, one), (_, two) = script.asked
    assert one["return_token_ids"]
    assert one["cache_salt"] != two["cache_salt"]
    assert "speculation" not in one
    assert method.settings["cold"]


def test_a_stranger_s_text_and_usage(script, method):
    script.parts = [
        b": ping\n\n",
        chunk("", role="assistant"),
        chunk("Zwei\u2028Zei") + chunk("len\x85")[:10],
        chunk("len\x85")[10:],
        chunk("", "length"),
        USAGE,
        DONE,
    ]
    said = method.generate(asking(folders.case()))
    assert said.text == "Zwei\u2028Zeilen\x85"
    assert (said.tokens, said.prompt_tokens, said.finish_reason) == (5, 9, "length")
    assert said.ids is said.rounds is said.passes is said.drafts is said.seconds.draft is None


def test_usage_may_come_with_every_chunk(script, method):
    script.parts = [
        chunk("a", usage={"completion_tokens": 1, "prompt_tokens": 4}),
        chunk("b", "stop", usage={"completion_tokens": 2, "prompt_tokens": 4}),
    ]
    assert method.generate(asking(folders.case())).tokens == 2


def test_ids_count_where_usage_does_not(script, method):
    choice = {"index": 0, "text": "ab", "token_ids": [3, 4], "finish_reason": "stop"}
    script.parts = [event({"choices": [choice]}), DONE]
    said = method.generate(dataclasses.replace(folders.case(), text="x"))
    assert script.asked[0][0] == "/v1/completions"
    assert script.asked[0][1]["prompt"] == "x"
    assert (said.tokens, said.ids) == (2, [3, 4])


def test_without_any_count_there_is_no_number(script, method):
    script.parts = [chunk("a", "stop"), DONE]
    with pytest.raises(UnsupportedError, match="counts no tokens"):
        method.generate(asking(folders.case()))


@pytest.mark.parametrize(
    ("parts", "whole", "why"),
    [
        ([chunk("a"), event({"error": {"message": "too hot"}}), DONE], True, "too hot"),
        ([chunk("a"), USAGE, DONE], True, "finish reason None"),
        ([chunk("a", "content_filter"), USAGE, DONE], True, "content_filter"),
        ([chunk("a")], False, "RemoteProtocolError"),
        ([b"data: {oops\n\n"], True, "not JSON"),
        ([b"data: [1]\n\n"], True, "no object"),
    ],
)
def test_a_broken_answer_is_an_error(script, method, parts, whole, why):
    script.parts, script.whole = parts, whole
    with pytest.raises(ServerError, match=why):
        method.generate(asking(folders.case()))


@pytest.mark.parametrize(
    ("status", "body", "kind", "why"),
    [
        (400, b'{"error": {"message": "no pictures"}}', UnsupportedError, "HTTP 400: no pictures"),
        (422, b'{"detail": "bad field"}', UnsupportedError, "bad field"),
        (503, b"<html>busy</html>", ServerError, "HTTP 503: <html>busy"),
        (401, b'{"error": "who are you?"}', ServerError, "who are you"),
    ],
)
def test_a_status_says_whose_fault_it_is(script, method, status, body, kind, why):
    script.status, script.parts = status, [body]
    with pytest.raises(kind, match=why):
        method.generate(asking(folders.case()))


def test_which_model(script):
    script.cards = [CARD, {"id": "org/n", "owned_by": "vllm"}]
    refused(script.url, "several models")
    refused(f"{script.url}#x", "no model 'x'")
    with open_url(f"{script.url}/#org/n") as named:
        assert named.settings["model"] == "org/n"
        assert "/" not in named.name
    script.cards = {"not": "a list"}
    refused(script.url, "does not list")


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused(f"http://127.0.0.1:{port}/v1", "no server at")


def test_lines_end_at_line_feeds_only():
    assert list(lines([b"a\r", b"\nb\x85\xe2\x80", b"\xa8c\n", b"d"])) == [
        "a",
        "b\ufffd\u2028c",
        "d",
    ]
