"""What evaluation harnesses send to ``/v1/completions``, and how they read the answer."""

from __future__ import annotations

import base64
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter

import httpx
import pytest
from PIL import Image
from serve.conftest import running
from serve.fake import TEXT, ByteProcessor, ScriptedEngine

URL = "/v1/completions"
GREEDY = {"model": "fake/model", "temperature": 0, "seed": 1234}


def likelihoods(raw, prompts, contexts):
    """One loglikelihood call as lm-eval makes it: (sum, greedy) of what follows each context."""
    asked = GREEDY | {"prompt": prompts, "max_tokens": 1, "logprobs": 1, "echo": True}
    answer = raw.post(URL, json=asked)
    answer.raise_for_status()
    choices = sorted(answer.json()["choices"], key=itemgetter("index"))
    found = []
    for choice, context in zip(choices, contexts, strict=True):
        chances = choice["logprobs"]["token_logprobs"][context:-1]
        tops = choice["logprobs"]["top_logprobs"][context:-1]
        greedy = all(chance == max(top.values()) for chance, top in zip(chances, tops, strict=True))
        found.append((sum(chances), greedy))
    return found


def test_loglikelihood(raw):
    prompts = [list(b"ab cd"), list(b"x\x00\x00"), list(b"longer than")]
    # The scripted engine gives every token minus a hundredth of its id, and 0 to another one.
    assert likelihoods(raw, prompts, [3, 1, 2]) == [
        (pytest.approx(-(ord("c") + ord("d")) / 100), False),
        (0, True),
        (pytest.approx(-sum(b"nger than") / 100), False),
    ]


def test_loglikelihood_many_at_once(raw):
    texts = [f"the text of number {number}".encode() for number in range(24)]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda t: likelihoods(raw, [list(t)], [4])[0][0], texts))
    assert found == [pytest.approx(-sum(text[4:]) / 100) for text in texts]


def test_echo_shape(raw):
    asked = GREEDY | {"prompt": "go on", "max_tokens": 3, "logprobs": 2, "echo": True, "n": 2}
    for index, choice in enumerate(raw.post(URL, json=asked).json()["choices"]):
        said = TEXT[index : index + 3]
        assert choice["text"] == "go on" + said
        table = choice["logprobs"]
        assert "".join(table["tokens"]) == "go on" + said
        assert table["text_offset"] == list(range(8))
        assert table["token_logprobs"][0] is table["top_logprobs"][0] is None
        assert table["token_logprobs"][1:5] == [-ord(c) / 100 for c in "o on"]
        assert table["token_logprobs"][5:] == [-0.25] * 3
        assert len(table["top_logprobs"][1]) == 3  # two likely ones and the token itself


def test_echo_without_a_new_token(raw):
    asked = GREEDY | {"prompt": ["abc", "de"], "max_tokens": 0, "logprobs": 0, "echo": True}
    answer = raw.post(URL, json=asked).json()
    assert [choice["text"] for choice in answer["choices"]] == ["abc", "de"]
    tables = [choice["logprobs"]["token_logprobs"] for choice in answer["choices"]]
    assert tables == [[None, -0.98, -0.99], [None, -1.01]]
    assert answer["usage"]["completion_tokens"] == 0
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}


def test_echo_streams_alike(raw):
    asked = GREEDY | {"prompt": "go on", "max_tokens": 9, "logprobs": 1, "echo": True}
    whole = raw.post(URL, json=asked).json()["choices"][0]["logprobs"]
    with raw.stream("POST", URL, json=asked | {"stream": True}) as response:
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: {")]
    parts = [json.loads(line)["choices"][0]["logprobs"] for line in lines]
    parts = [part for part in parts if part is not None]
    assert {name: [x for part in parts for x in part[name]] for name in whole} == whole


def test_tokens_that_are_no_characters_keep_apart(raw):
    asked = GREEDY | {"prompt": [200, 201, 65], "max_tokens": 0, "logprobs": 1, "echo": True}
    table = raw.post(URL, json=asked).json()["choices"][0]["logprobs"]
    assert table["tokens"] == ["bytes:\\xc8", "bytes:\\xc9", "A"]
    assert table["top_logprobs"][1] == {"bytes:\\xca": 0, "bytes:\\xc9": -2.01}
    assert table["text_offset"] == [0, 0, 1]  # the first byte shows nothing before the second


def test_generate_until(raw):
    until = ["dog", "\n\n", "Question:", "<eos>", "\nclass", "\ndef"]
    asked = GREEDY | {"prompt": [list(b"go"), list(b"on")], "max_tokens": 256, "stop": until}
    choices = raw.post(URL, json=asked).json()["choices"]
    assert [choice["text"] for choice in choices] == [TEXT[: TEXT.index("dog")]] * 2


def test_chat_as_lm_eval_sends_it(raw):
    message = {"role": "user", "content": "go", "type": "text"}
    asked = GREEDY | {"messages": [message], "max_tokens": 9, "stop": ["zz", "<eos>"]}
    answer = raw.post("/v1/chat/completions", json=asked).json()
    assert answer["choices"][0]["message"]["content"] == TEXT[:9]
    assert answer["usage"]["completion_tokens"] == 9


def test_lmms_eval_asks_for_32_pictures_at_once(raw):
    def ask(number):
        sink = io.BytesIO()
        Image.new("RGB", (8 + number, 9)).save(sink, "PNG")
        url = "data:image/png;base64," + base64.b64encode(sink.getvalue()).decode()
        content = [
            {"type": "text", "text": f"question {number}"},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        body = GREEDY | {"messages": [{"role": "user", "content": content}], "max_tokens": 40}
        answer = raw.post("/v1/chat/completions", json=body)
        answer.raise_for_status()
        return answer.json()

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(32)))
    assert {answer["usage"]["completion_tokens"] for answer in answers} == {40}
    assert {answer["choices"][0]["finish_reason"] for answer in answers} == {"length"}
    assert len({answer["choices"][0]["message"]["content"] for answer in answers}) == 1


@pytest.mark.parametrize("path", [URL, "/v1/chat/completions"])
def test_prompt_logprobs_as_vllm_tells_them(raw, path):
    prompt = {"prompt": "abc"} if path == URL else {"messages": [{"role": "user", "content": "ab"}]}
    body = raw.post(path, json=GREEDY | prompt | {"max_tokens": 1, "prompt_logprobs": 1}).json()
    first, second, *_ = (body["choices"][0] if path == URL else body)["prompt_logprobs"]
    assert first is None
    assert second == {
        "98": {"logprob": -0.98, "rank": 98, "decoded_token": "b"},
        "99": {"logprob": 0, "rank": 1, "decoded_token": "c"},
    }


def test_the_first_chunk_is_the_first_token():
    """A stream may open early, but what a client's clock takes for a token waits for one."""
    patient = {"patience": 0.05, "heartbeat": 0.1}
    body = GREEDY | {"messages": [{"role": "user", "content": "go"}], "stream": True}
    with (
        running(ScriptedEngine(pause=0.5), ByteProcessor(), service_options=patient) as server,
        httpx.Client(base_url=server.url) as http,
    ):
        began = time.monotonic()
        asked = body | {"max_tokens": 2}
        with http.stream("POST", "/v1/chat/completions", json=asked) as response:
            opened = time.monotonic() - began
            first, *later = ((line, time.monotonic() - began) for line in response.iter_lines())
    assert opened < 0.4
    assert first[0] == ": ping"
    chunks = [(line, at) for line, at in later if line.startswith("data: {")]
    assert '"role":"assistant"' in chunks[0][0]
    assert chunks[0][1] >= 0.5
    assert chunks[1][1] - chunks[0][1] < 0.2  # the token itself comes with it


def test_tokenizer_routes(raw):
    asked = {"prompt": "go<eos>", "add_special_tokens": False}
    found = raw.post("/tokenize", json=asked).json()
    assert found == {"count": 3, "max_model_len": 2048, "tokens": [103, 111, 256],
                     "token_strs": None}  # fmt: skip
    assert raw.post("/detokenize", json={"tokens": found["tokens"]}).json() == {"prompt": "go<eos>"}
    chat = {"messages": [{"role": "user", "content": "hi"}], "return_token_strs": True}
    found = raw.post("/tokenize", json=chat | {"model": "fake/model"}).json()
    assert found["token_strs"] == ["h", "i", "\n"]
    assert raw.get("/tokenizer_info").json()["eos_token"] == "<eos>"


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/tokenize", {}, 400, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": []}, 400, "prompt"),
        ("/tokenize", {"prompt": "a" * 20_000}, 400, "prompt"),
        ("/tokenize", {"messages": []}, 400, "messages"),
        ("/tokenize", {"prompt": "a", "model": "b"}, 404, "model"),
        ("/detokenize", {"tokens": [258]}, 400, "tokens"),
        ("/detokenize", {"tokens": "a"}, 400, "tokens"),
        ("/detokenize", {}, 400, "tokens"),
    ],
)
def test_tokenizer_refusals(raw, path, body, status, param):
    response = raw.post(path, json=body)
    assert response.status_code == status
    assert response.json()["error"]["param"] == param
