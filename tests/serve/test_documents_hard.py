"""Documents in bad times: killed processes, and large ones while others want an answer."""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from serve.conftest import running

from mmspec.core.config import Config, EngineConfig, ModelConfig
from mmspec.engine.build import build
from mmspec.serve.evidence import Witness

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]
SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from serve.conftest import running
from serve.fake import ByteProcessor, ScriptedEngine
from mmspec.core.config import Config, DocumentsConfig
config = Config(documents=DocumentsConfig(directory=sys.argv[2], owner_files=10_000))
with running(ScriptedEngine(), ByteProcessor(), config) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def process(folder):
    """A server in a process of its own, and where it listens."""
    command = [sys.executable, "-c", SERVER, str(TESTS), str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            yield server, server.stdout.readline().strip()
        finally:
            server.kill()


@contextlib.contextmanager
def watched(url):
    """Asks for the server's health again and again meanwhile; yields how long each answer took."""
    waits, over = [], threading.Event()

    def watch():
        with httpx.Client(base_url=url) as client:
            while not over.is_set():
                start = time.monotonic()
                assert client.get("/health").status_code == 200
                waits.append(time.monotonic() - start)
                time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield waits
    finally:
        over.set()
        watcher.join()


def test_what_was_answered_survives_being_killed(tmp_path):
    kept = {}
    for turn in range(3):
        with process(tmp_path / "documents") as (server, url), httpx.Client(base_url=url) as client:
            for id, text in kept.items():
                assert client.get(f"/v1/documents/{id}/content").text == text
            found = {one["id"] for one in client.get("/v1/documents").json()["data"]}
            assert found >= kept.keys()
            assert len(found) <= len(kept) + turn  # one at most was on its way each time
            killer = threading.Timer(0.5 + 0.1 * turn, server.kill)
            killer.start()
            with contextlib.suppress(httpx.TransportError):
                for number in itertools.count():
                    text = f"{turn} {number}\n" * 1000
                    sent = client.post("/v1/documents", files={"file": ("a.txt", text)})
                    kept[sent.json()["id"]] = text
            assert server.wait() == -signal.SIGKILL
            assert number > 0
    assert len(kept) >= 3


def test_health_while_two_megabytes_enter(tmp_path):
    text = ("The keeper of the lamp wrote the number 4711 in the book. " * 40_000)[: 2 << 20]
    with (
        process(tmp_path) as (_, url),
        httpx.Client(base_url=url, timeout=60) as client,
        watched(url) as waits,
    ):
        for data in (text, "<!doctype html><p>" + text) * 4:
            sent = client.post("/v1/documents", files={"file": ("a", data.encode())})
            assert sent.json()["characters"] == len(text)
    assert len(waits) > 10
    assert max(waits) < 0.1


def test_making_ready_for_evidence_is_interrupted():
    """What a large document costs beside the loop lets the loop's thread run in between."""
    gaps, over = [], threading.Event()

    def watch():
        last = time.monotonic()
        while not over.is_set():
            time.sleep(0.001)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    watcher = threading.Thread(target=watch)
    watcher.start()
    Witness("The keeper of the lamp wrote the number 4711 in the book. " * 4000)
    over.set()
    watcher.join()
    assert max(gaps) < 0.1


def test_counting_the_longest_document_is_interrupted(nano):
    """With the real tokenizer: as much text as its context could hold."""
    text = ("The keeper of the lamp wrote the number 4711 in the book.\n" * 5000)[:262_000]
    with httpx.Client(base_url=nano.url, timeout=60) as client, watched(nano.url) as waits:
        sent = client.post("/v1/documents", files={"file": ("a", text.encode())}).json()
    exact = len(nano.processor.encode(text, special=False))
    assert abs(sent["tokens"] - exact) <= 8
    assert max(waits) < 0.1


@pytest.fixture(scope="module")
def nano():
    config = Config(
        model=ModelConfig(path="nano", name="nano", threads=1),
        engine=EngineConfig(max_sequences=4, cache_bytes=512 << 20),
    )
    engine, processor = build(config)
    with running(engine, processor, config) as server:
        yield server
