"""Clients that hang up or stop reading, engines that fail, servers that are told to stop."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time

import httpx
import openai
import pytest
from serve.conftest import running
from serve.fake import TEXT, ByteProcessor, ScriptedEngine

CHAT = "/v1/chat/completions"
PATIENT = httpx.Timeout(30)


def body(text="hello", **change):
    return {"model": "fake/model", "messages": [{"role": "user", "content": text}]} | change


@pytest.fixture
def slow():
    """A server whose engine needs a while: 10 ms a step."""
    with running(
        ScriptedEngine(pause=0.01), ByteProcessor(), service_options={"heartbeat": 0.05}
    ) as server:
        yield server


def send(server, payload, window=None):
    """A request over a bare socket, so that hanging up is ours to do."""
    data = json.dumps(payload).encode()
    link = socket.socket()
    if window is not None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    link.connect(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
    link.sendall(head.encode() + data)
    return link


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("rude", [False, True])
def test_hanging_up_frees_everything(slow, stream, rude):
    link = send(slow, body(stream=stream, n=2))
    slow.wait_for(lambda: slow.engine.runs)
    if stream:
        assert b"200 OK" in link.recv(4096)
    (id,) = slow.engine.runs
    if rude:  # a reset instead of a goodbye
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    link.close()
    slow.wait_for(lambda: not slow.engine.runs)
    assert id in slow.engine.cancelled
    assert slow.service.bridge.open_calls == 0
    text = httpx.get(f"{slow.url}/metrics", timeout=PATIENT).text
    assert "mmspec_client_disconnects_total 1.0" in text


def test_hanging_up_before_the_engine_knows(slow):
    with slow.client() as client:
        keep = client.chat.completions.create(**body(max_tokens=100), stream=True)
        for _ in range(20):
            send(slow, body(stream=True)).close()
        whole = "".join(chunk.choices[0].delta.content or "" for chunk in keep)
    assert whole == (TEXT.encode() * 3)[:100].decode("utf-8", "replace")
    slow.wait_for(lambda: not slow.engine.runs)


def test_a_slow_reader_blocks_nobody():
    """It stops reading with a full socket; others go on, and after a while it counts as gone."""
    engine = ScriptedEngine(stride=16, pause=0.001)
    with (
        running(engine, ByteProcessor(), send_buffer=4096) as server,
        server.client() as client,
        send(server, body(stream=True, n=2, logprobs=True, top_logprobs=5), window=4096),
    ):
        bridge = server.service.bridge
        server.wait_for(lambda: bridge.open_calls == 1)
        server.wait_for(lambda: not engine.runs)  # the engine has finished; its words wait
        answer = client.chat.completions.create(**body(max_tokens=100))
        assert answer.usage.completion_tokens == 100
        assert bridge.open_calls == 1
        (ticket,) = set(bridge._tickets.values())
        assert ticket.unread_since is not None
        bridge._stall_seconds = 0.1
        server.wait_for(lambda: bridge.open_calls == 0)


def test_heartbeat_while_nothing_happens():
    engine = ScriptedEngine(pause=0.3)
    options = {"heartbeat": 0.05, "patience": 0.01}
    with (
        running(engine, ByteProcessor(), service_options=options) as server,
        httpx.stream(
            "POST", server.url + CHAT, json=body(stream=True, max_tokens=6), timeout=PATIENT
        ) as response,
    ):
        lines = list(response.iter_lines())
    assert lines.count(": ping") >= 2
    assert lines[-2] == "data: [DONE]"


def test_one_request_fails_alone(slow):
    with slow.client() as client:
        other = client.chat.completions.create(**body(max_tokens=100), stream=True)
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**body("!error"))
        assert caught.value.response.headers["x-should-retry"] == "false"
        with pytest.raises(openai.InternalServerError):  # before the first byte: keeps its status
            client.chat.completions.create(**body("!error"), stream=True)
        whole = "".join(chunk.choices[0].delta.content or "" for chunk in other)
    assert len(whole.encode()) >= 90


def test_a_fault_in_the_stream_is_an_error_event(slow):
    # The step that raises takes every open call with it; the engine goes on.
    with httpx.stream("POST", slow.url + CHAT, json=body(stream=True), timeout=PATIENT) as response:
        lines = response.iter_lines()
        for line in lines:
            if "brown" in line or "quick" in line:
                break
        failed = httpx.post(slow.url + CHAT, json=body("!crash"), timeout=PATIENT)
        rest = [line for line in lines if line]
    assert failed.status_code == 500
    assert rest[-1] == "data: [DONE]"
    error = json.loads(rest[-2].removeprefix("data: "))["error"]
    assert error["type"] == "server_error"
    assert "secret" not in json.dumps(error) + failed.text
    assert not any('"finish_reason":"' in line for line in rest)
    assert httpx.get(f"{slow.url}/health", timeout=PATIENT).status_code == 200
    with slow.client() as client:
        assert client.chat.completions.create(**body(max_tokens=3)).usage.completion_tokens == 3
        with pytest.raises(openai.APIError):
            list(client.chat.completions.create(**body("!crash"), stream=True))


def test_an_engine_that_keeps_failing_is_unhealthy():
    with running(ScriptedEngine(), ByteProcessor()) as server:
        for _ in range(3):
            assert (
                httpx.post(server.url + CHAT, json=body("!crash"), timeout=PATIENT).status_code
                == 500
            )
        response = httpx.get(f"{server.url}/health", timeout=PATIENT)
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert httpx.post(server.url + CHAT, json=body(), timeout=PATIENT).status_code == 500


def test_full_queue():
    engine = ScriptedEngine(pause=0.02, max_running=2)
    with running(engine, ByteProcessor()) as server:
        links = [send(server, body(stream=True)) for _ in range(2)]
        server.wait_for(lambda: len(engine.runs) == 2)
        response = httpx.post(server.url + CHAT, json=body(stream=True), timeout=PATIENT)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "2"
        assert response.json()["error"]["type"] == "service_unavailable"
        for link in links:
            link.close()
        server.wait_for(lambda: not engine.runs)


def test_draining(slow):
    bridge = slow.service.bridge
    answers = []

    def ask():
        answers.append(httpx.post(slow.url + CHAT, json=body(max_tokens=300), timeout=PATIENT))

    asker = threading.Thread(target=ask)
    asker.start()
    slow.wait_for(lambda: slow.engine.runs)
    with httpx.Client(base_url=slow.url, timeout=PATIENT) as http:
        slow.server.handle_exit(signal.SIGTERM, None)
        slow.wait_for(lambda: bridge.draining)
        ready = http.get("/ready")
        assert ready.status_code == 503
        late = http.post(CHAT, json=body())
        assert late.status_code == 503
        assert late.headers["retry-after"]
    asker.join(10)
    assert answers[0].json()["usage"]["completion_tokens"] == 300  # what had begun was finished
    slow.thread.join(10)
    assert not slow.thread.is_alive()
    assert slow.engine.closed


def test_draining_gives_up():
    """What does not finish in time gets an error event, not a cut line."""
    with (
        running(ScriptedEngine(pause=0.02), ByteProcessor(), drain=0.5) as server,
        httpx.stream(
            "POST", server.url + CHAT, json=body("!slow", stream=True), timeout=PATIENT
        ) as got,
    ):
        lines = got.iter_lines()
        next(lines)
        server.server.handle_exit(signal.SIGTERM, None)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert "error" in json.loads(rest[-2].removeprefix("data: "))


def test_abort_fuzz_leaks_nothing(slow):
    def rude(i):
        link = send(slow, body(stream=i % 2 == 0, n=1 + i % 3))
        time.sleep((i % 7) * 0.004)
        link.close()

    threads = [threading.Thread(target=rude, args=(i,)) for i in range(48)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    slow.wait_for(lambda: not slow.engine.runs and slow.service.bridge.open_calls == 0)
