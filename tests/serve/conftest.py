"""A real uvicorn on a free port, in a thread, in front of the scripted engine."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from serve.fake import ByteProcessor, ScriptedEngine

from mmspec.core.config import Config, EngineConfig, ServeConfig
from mmspec.serve.run import DrainingServer, door_of, service_of


@dataclass
class Running:
    url: str
    engine: Any
    processor: Any
    service: Any
    server: Any
    thread: Any

    def client(self, **options) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="none", **{"max_retries": 0, **options}
        )

    def wait_for(self, condition, seconds=5.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "did not happen in time"
            time.sleep(0.01)


@contextlib.contextmanager
def running(engine, processor, config=None, service_options=None, send_buffer=None, drain=20.0):
    config = config or Config(
        serve=ServeConfig(max_body_bytes=4 << 20), engine=EngineConfig(max_queue=64)
    )
    service = service_of(config, engine, processor)
    if service_options:
        service = dataclasses.replace(service, **service_options)
    listener = socket.create_server(("127.0.0.1", 0))
    if send_buffer is not None:  # inherited by accepted connections
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    server = DrainingServer(
        uvicorn.Config(
            door_of(config, service), log_config=None, access_log=False, lifespan="on", ws="none",
            timeout_graceful_shutdown=3,
        ),
        service.bridge,
        drain_seconds=drain,
    )  # fmt: skip
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        end = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < end
            time.sleep(0.01)
        yield Running(url, engine, processor, service, server, thread)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive()
        assert not engine.busy


@pytest.fixture(scope="module")
def door():
    """One server for a module; its engine says five tokens a step."""
    with running(ScriptedEngine(pause=0.001), ByteProcessor()) as server:
        yield server


@pytest.fixture(scope="module")
def client(door):
    with door.client() as client:
        yield client


@pytest.fixture(scope="module")
def raw(door):
    with httpx.Client(base_url=door.url, timeout=30) as client:
        yield client
