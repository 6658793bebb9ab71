"""The whole house: official client, real server, bundled model."""

from __future__ import annotations

import base64
import io
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
import torch
from PIL import Image, ImageDraw
from serve.conftest import running

from mmspec.core.config import Config, EngineConfig, ModelConfig
from mmspec.engine.build import build
from mmspec.model.load import locate

pytestmark = pytest.mark.skipif(
    not Path(locate("nano")).is_dir(), reason="the bundled model is not in this checkout"
)
CONFIG = Config(
    model=ModelConfig(path="nano", name="nano", threads=1),
    engine=EngineConfig(max_sequences=8, cache_bytes=256 << 20),
)


@pytest.fixture(scope="module")
def nano():
    threads = torch.get_num_threads()
    engine, processor = build(CONFIG)
    with running(engine, processor, CONFIG) as server:
        yield server
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def client(nano):
    with nano.client() as client:
        yield client


def picture(color):
    image = Image.new("RGB", (96, 96), "white")
    ImageDraw.Draw(image).ellipse((20, 20, 60, 60), fill=color)
    sink = io.BytesIO()
    image.save(sink, "PNG")
    url = "data:image/png;base64," + base64.b64encode(sink.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def ask(client, color="red", **options):
    extra = {"speculation": {"report": True, **options.pop("speculation", {})}, "ignore_eos": True}
    return client.chat.completions.create(
        model="nano",
        messages=[
            {
                "role": "user",
                "content": [picture(color), {"type": "text", "text": "Describe the picture."}],
            }
        ],
        **{"max_tokens": 40, "temperature": 0, "extra_body": extra, **options},
    )


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "seed": 11}], ids=["greedy", "seed"])
def test_speculation_changes_nothing(client, sampling):
    on = ask(client, **sampling, logprobs=True)
    off = ask(client, **sampling, logprobs=True, speculation={"enabled": False})
    streamed = list(ask(client, **sampling, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert on.choices[0].message.content == off.choices[0].message.content == text
    assert on.choices[0].logprobs == off.choices[0].logprobs  # the same bits
    assert on.usage.completion_tokens == off.usage.completion_tokens == 40
    assert on.usage.prompt_tokens_details.image_tokens > 0
    report = on.model_extra["mmspec"]["speculation"]
    assert report["tau"] >= 1.0
    assert off.model_extra["mmspec"]["speculation"]["drafted"] == 0


def test_the_reported_seed_replays(client):
    drawn = ask(client, temperature=1.0)
    replayed = ask(client, temperature=1.0, seed=drawn.model_extra["mmspec"]["seed"])
    assert replayed.choices[0].message.content == drawn.choices[0].message.content
    assert ask(client, temperature=1.0).model_extra["mmspec"] != drawn.model_extra["mmspec"]


def test_company_changes_nothing(client):
    colors = ["red", "green", "blue", "black", "orange", "purple"]
    alone = [ask(client, color, temperature=0.7, seed=3).choices for color in colors]
    with ThreadPoolExecutor(6) as pool:
        together = list(
            pool.map(lambda color: ask(client, color, temperature=0.7, seed=3).choices, colors)
        )
    assert together == alone


@pytest.mark.parametrize("enabled", [False, True])
def test_stop_strings_count_alike(client, enabled):
    text = ask(client).choices[0].message.content
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    stopped = ask(client, stop=[stop], speculation={"enabled": enabled})
    plain = ask(client, stop=[stop], speculation={"enabled": False})
    assert stopped.choices[0].message.content == text[: text.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.usage == plain.usage
    assert stopped.model_extra["mmspec"]["speculation"]["rounds"] > 0


def test_several_pictures_and_choices(client):
    content = [picture("red"), {"type": "text", "text": "and"}, picture("blue")]
    answer = client.chat.completions.create(
        model="nano",
        messages=[{"role": "user", "content": content}],
        n=2,
        max_tokens=8,
        seed=1,
    )
    assert len(answer.choices) == 2
    one = ask(client, max_tokens=1).usage.prompt_tokens_details.image_tokens
    assert answer.usage.prompt_tokens_details.image_tokens == 2 * one


def test_an_uploaded_picture_says_the_same(client):
    url = picture("green")["image_url"]["url"]
    data = base64.b64decode(url.partition(",")[2])
    file = client.files.create(file=("green.png", data), purpose="vision")
    text = {"type": "text", "text": "Describe the picture."}
    sent, named = (
        client.chat.completions.create(
            model="nano", messages=[{"role": "user", "content": [part, text]}], max_tokens=20,
            seed=2, logprobs=True,
        )
        for part in (picture("green"), {"type": "file", "file": {"file_id": file.id}})
    )  # fmt: skip
    assert named.choices == sent.choices
    assert named.usage.prompt_tokens == sent.usage.prompt_tokens
    client.files.delete(file.id)


def test_long_document(client):
    """Thousands of tokens; the second question finds most of them in the prefix cache."""
    document = "The keeper of the lamp wrote the number 4711 in the book. " * 150
    for turn in range(2):
        answer = client.completions.create(
            model="nano", prompt=document, max_tokens=4, temperature=0
        )
        assert answer.usage.prompt_tokens > 1000
        assert (answer.usage.prompt_tokens_details.cached_tokens > 0) == (turn == 1)


def test_bad_requests_of_the_engine(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="nano", prompt="word " * 40_000)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, speculation={"drafters": ["text.nobody"]})
    assert caught.value.param == "speculation.drafters"
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="nano", prompt="")


def test_hanging_up_frees_the_cache(nano, client):
    stream = ask(client, max_tokens=5000, stream=True)
    next(iter(stream))
    stream.close()
    nano.wait_for(lambda: not nano.engine.busy)
    assert nano.engine.stats.running == 0


@pytest.mark.slow
def test_process_drains_on_sigterm(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = (
        "from mmspec.core.config import *\n"
        "from mmspec.serve.run import serve\n"
        f"raise SystemExit(serve(Config(model=ModelConfig(path='nano', threads=1),"
        f" serve=ServeConfig(port={port}))))"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 60
        while True:
            assert time.monotonic() < end
            try:
                if httpx.get(f"{url}/ready").status_code == 200:
                    break
            except httpx.ConnectError:
                time.sleep(0.1)
        asked = {"model": "nano", "prompt": "go", "max_tokens": 200, "stream": True,
                 "ignore_eos": True}  # fmt: skip
        with httpx.stream("POST", f"{url}/v1/completions", json=asked, timeout=60) as response:
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert '"finish_reason":"length"' in rest[-2]
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
