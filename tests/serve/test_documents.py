"""``/v1/documents`` over a real socket: a life, limits, owners, and questions."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from serve.conftest import running
from serve.fake import ByteProcessor, ScriptedEngine
from serve.papers import locked, pdf
from serve.uploading import TYPE, field, form, part
from serve.uploading import end as form_end

from mmspec.core.config import Config, DocumentsConfig, FilesConfig, ServeConfig
from mmspec.serve.document_reader import DocumentReader
from mmspec.serve.evidence import Witness
from mmspec.serve.file_store import FileStore
from mmspec.serve.visit import Load, Visit

DOCUMENTS, FILES = "/v1/documents", "/v1/files"
FACT = "The quick brown fox — «jumps» über 🦊🦊 the lazy dog."
TEXT = f"A tale\n\nSection 1: the fox\n{FACT}\n"
KEYS = ("ann", "bob")


def config(**options):
    return Config(
        serve=ServeConfig(api_keys=KEYS, max_body_bytes=1 << 20),
        files=FilesConfig(owner_bytes=4 << 20),
        documents=DocumentsConfig(
            **{"max_file_bytes": 3 << 20, "max_text_bytes": 2 << 20, "owner_bytes": 3 << 20,
               "owner_files": 8, **options}
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def server():
    with running(ScriptedEngine(), ByteProcessor(), config()) as server:
        yield server


def client_of(server, key):
    headers = {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=60)


def emptied(client):
    yield client
    for path in (DOCUMENTS, FILES):
        for one in client.get(path).json()["data"]:
            assert client.delete(f"{path}/{one['id']}").status_code == 200
    client.close()


@pytest.fixture
def ann(server):
    yield from emptied(client_of(server, "ann"))


@pytest.fixture
def bob(server):
    yield from emptied(client_of(server, "bob"))


def upload(client, data, filename="tale.txt", **fields):
    data = data.encode() if isinstance(data, str) else data
    body = b"".join(field(*one) for one in fields.items()) + part(data, filename) + form_end()
    return client.post(DOCUMENTS, content=body, headers={"content-type": TYPE})


def kept(client, data=TEXT, *args, **fields):
    response = upload(client, data, *args, **fields)
    assert response.status_code == 200, response.text
    return response.json()


def ask(client, id, question="Who jumps? !end", **body):
    return client.post(f"{DOCUMENTS}/{id}/questions", json={"question": question, **body})


def check(response, status, param=None, code=None):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["param"], error["code"]) == (param, code)
    return error["message"]


def chunks(response):
    lines = [line for line in response.text.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_life(ann):
    before = int(time.time())
    made = kept(ann, TEXT.replace("\n", "\r\n"), "tale.md")
    assert set(made) == {
        "id", "object", "bytes", "characters", "tokens", "created_at", "expires_at", "filename",
        "kind", "status",
    }  # fmt: skip
    assert made["id"].startswith("doc-")
    assert len(made["id"]) == 4 + 32
    assert (made["object"], made["kind"], made["filename"]) == ("document", "markdown", "tale.md")
    assert made["bytes"] == made["tokens"] == len(TEXT.encode())
    assert made["characters"] == len(TEXT)
    assert made["expires_at"] == made["created_at"] + 86_400 >= before + 86_400
    assert ann.get(f"{DOCUMENTS}/{made['id']}").json() == made
    content = ann.get(f"{DOCUMENTS}/{made['id']}/content")
    assert content.text == TEXT
    assert content.headers["content-type"] == "text/plain; charset=utf-8"
    assert content.headers["content-disposition"].startswith("attachment")
    other = kept(ann, "other")
    page = ann.get(DOCUMENTS).json()
    assert [one["id"] for one in page["data"]] == [other["id"], made["id"]]
    assert (page["first_id"], page["has_more"]) == (other["id"], False)
    assert ann.get(DOCUMENTS, params={"limit": 1, "order": "asc"}).json()["data"] == [made]
    gone = ann.delete(f"{DOCUMENTS}/{made['id']}").json()
    assert gone == {"id": made["id"], "object": "document", "deleted": True}
    check(ann.get(f"{DOCUMENTS}/{made['id']}"), 404, "id")


def test_from_an_uploaded_file(ann):
    file = ann.post(
        FILES, content=form(pdf("Page one.", "Page two."), filename="a.pdf"),
        headers={"content-type": TYPE},
    ).json()  # fmt: skip
    expiry = {"anchor": "created_at", "seconds": 3600}
    made = ann.post(DOCUMENTS, json={"file_id": file["id"], "expires_after": expiry}).json()
    assert (made["kind"], made["filename"]) == ("pdf", "a.pdf")
    assert made["expires_at"] == made["created_at"] + 3600
    assert ann.get(f"{DOCUMENTS}/{made['id']}/content").text == "Page one.\n\nPage two."
    ann.delete(f"{FILES}/{file['id']}")
    assert ann.get(f"{DOCUMENTS}/{made['id']}").json() == made  # its text is its own


def test_a_page(ann):
    made = kept(ann, "<!doctype html><h1>A</h1><p>b &amp; c</p>", "whatever.bin")
    assert made["kind"] == "html"
    assert ann.get(f"{DOCUMENTS}/{made['id']}/content").text == "A\n\nb & c"


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"\x89PNG\r\n\x1a\n\0", 400, "invalid_document"),
        (b"", 400, "empty_document"),
        (locked(pdf("a")), 400, "encrypted_document"),
        (pdf(""), 400, "empty_document"),
        (b"x" * ((2 << 20) + 1), 413, "document_too_large"),
        (b"x" * ((3 << 20) + 1), 413, "request_too_large"),
    ],
    ids=["binary", "empty", "locked", "scan", "long", "large"],
)
def test_unreadable(ann, data, status, code):
    check(upload(ann, data), status, "file", code)
    if status == 400:
        file = ann.post(FILES, content=form(data), headers={"content-type": TYPE}).json()
        check(ann.post(DOCUMENTS, json={"file_id": file["id"]}), status, "file_id", code)
    assert not ann.get(DOCUMENTS).json()["data"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "file_id", None),
        ({"file_id": 5}, "file_id", None),
        ({"file_id": "x", "expires_after": {"seconds": 3600}}, "expires_after.anchor", None),
        ({"file_id": "x", "expires_after": {"anchor": "now", "seconds": 3600}},
         "expires_after.anchor", None),
        ({"file_id": "x", "expires_after": {"anchor": "created_at", "seconds": 3}},
         "expires_after.seconds", None),
    ],
)  # fmt: skip
def test_bad_bodies(ann, body, param, code):
    check(ann.post(DOCUMENTS, json=body), 400, param, code)


def test_forms_and_bodies_that_are_neither(ann):
    check(ann.post(DOCUMENTS, content=b"hello"), 400, None, "invalid_json")
    form = {"content-type": TYPE}
    check(ann.post(DOCUMENTS, content=form_end(), headers=form), 400, "file", None)
    check(upload(ann, TEXT, "expires_after[seconds]", **{"expires_after[seconds]": "5"}), 400,
          "expires_after[seconds]", None)  # fmt: skip
    assert kept(ann, TEXT, purpose="whatever")["kind"] == "text"  # no field of ours


def test_others_have_no_such_document(ann, bob, server):
    id = kept(ann)["id"]
    for wrong in (id, "doc-" + "0" * 32, "file-1", "%27%20OR%201=1", "..%2f..%2fetc"):
        path = f"{DOCUMENTS}/{wrong}"
        answers = [bob.get(path), bob.get(f"{path}/content"), bob.delete(path), ask(bob, wrong)]
        messages = {check(answer, 404, "id") for answer in answers if "%2f" not in wrong}
        assert len(messages) == ("%2f" not in wrong)
        assert all(answer.status_code == 404 for answer in answers)
    check(bob.get(DOCUMENTS, params={"after": id}), 404, "after")
    file = ann.post(FILES, content=form(b"mine"), headers={"content-type": TYPE}).json()
    check(bob.post(DOCUMENTS, json={"file_id": file["id"]}), 404, "file_id")
    assert not bob.get(DOCUMENTS).json()["data"]
    assert ann.get(f"{DOCUMENTS}/{id}").status_code == 200
    with httpx.Client(base_url=server.url) as nobody:
        check(nobody.get(f"{DOCUMENTS}/{id}"), 401, None, "invalid_api_key")


def test_quota_is_of_the_text_and_of_one_owner(ann, bob):
    big = "x" * (1 << 20)
    for _ in range(2):
        kept(ann, big)
    assert "3145728 bytes" in check(
        upload(ann, big + big[:-5]), 429, "file", "storage_quota_exceeded"
    )
    kept(bob, big)
    ann.delete(f"{DOCUMENTS}/{ann.get(DOCUMENTS).json()['first_id']}")
    kept(ann, big)
    for _ in range(6):
        kept(ann, "small")
    response = upload(ann, "small")
    assert "8 documents" in check(response, 429, "file", "storage_quota_exceeded")
    assert response.headers["x-should-retry"] == "false"


def test_time():
    now = [1000.0]
    with running(ScriptedEngine(), ByteProcessor(), config(ttl_seconds=100)) as server:
        store = server.service.documents.files.store
        store._clock = lambda: now[0]
        with client_of(server, "ann") as ann:
            short, long = kept(ann)["id"], None
            long = kept(ann, **{"expires_after[anchor]": "created_at",
                                "expires_after[seconds]": "3600"})["id"]  # fmt: skip
            now[0] += 100
            check(ask(ann, short), 404, "id")
            assert [one["id"] for one in ann.get(DOCUMENTS).json()["data"]] == [long]
            assert ask(ann, long).status_code == 200


def test_a_document_longer_than_the_model_is_kept_but_not_asked_about(ann):
    made = kept(ann, "long " * 10_000)
    assert made["tokens"] is None
    check(ask(ann, made["id"]), 400, "messages.0.content", "context_length_exceeded")
    made = kept(ann, "long " * 1000)
    assert made["tokens"] == 5000
    check(ask(ann, made["id"]), 400, "messages", "context_length_exceeded")


def test_the_document_stands_first(server, ann, monkeypatch):
    asked = []
    submit = server.engine.submit
    monkeypatch.setattr(server.engine, "submit", lambda one: (asked.append(one), submit(one)))
    id = kept(ann)["id"]
    assert ask(ann, id, "Who? !end").status_code == 200
    assert ask(ann, id, "And why? !end", system="Be brief.").status_code == 200
    texts = [bytes(request.prompt.ids.tolist()).decode() for request in asked]
    assert texts == [f"{TEXT}\n\nWho? !end\n", f"Be brief.\n{TEXT}\n\nAnd why? !end\n"]
    for text, request, question in zip(texts, asked, ("Who? !end", "And why? !end"), strict=True):
        shared = len(text.encode()) - len(question)
        assert request.prompt.shared == shared
        assert request.sampling.temperature == 0.0
    assert len({request.tenant for request in asked}) == 1
    assert asked[0].tenant


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_has_evidence(ann, stream):
    id = kept(ann)["id"]
    response = ask(ann, id, stream=stream, model="fake/model")
    assert response.status_code == 200
    if stream:
        told = chunks(response)
        text = "".join(one["choices"][0]["delta"].get("content", "") for one in told)
        assert told[0]["choices"][0]["delta"]["role"] == "assistant"
        assert [one["choices"][0]["finish_reason"] for one in told[-2:]] == [None, "stop"]
        assert all("evidence" not in one["choices"][0] for one in told[:-1])
        choice = told[-1]["choices"][0]
    else:
        (choice,) = response.json()["choices"]
        text = choice["message"]["content"]
        assert choice["finish_reason"] == "stop"
        assert response.json()["model"] == "fake/model"
        assert response.json()["object"] == "chat.completion"
    assert text == FACT + " "
    (one,) = choice["evidence"]
    assert TEXT[one["start"] : one["end"]] == one["text"] == FACT
    assert text[one["answer_start"] : one["answer_end"]] == FACT


def test_several_answers_and_a_report(ann):
    id = kept(ann)["id"]
    body = ask(ann, id, n=2, max_tokens=30, seed=4, speculation={"report": True}).json()
    assert [len(choice["evidence"]) for choice in body["choices"]] == [0, 0]
    assert body["mmspec"]["speculation"]["rounds"] == 6
    told = chunks(ask(ann, id, n=2, max_tokens=30, stream=True))
    ends = [one["choices"][0] for one in told if one["choices"][0].get("finish_reason")]
    assert sorted(one["index"] for one in ends) == [0, 1]
    assert all(one["evidence"] == [] for one in ends)


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ({"question": 5}, 400, "question", None),
        ({"question": " "}, 400, "question", None),
        ({"model": "other"}, 404, "model", "model_not_found"),
        ({"tools": [{}]}, 400, "tools", "unsupported_parameter"),
        ({"temperature": 9}, 400, "temperature", None),
        ({"top_logprobs": 3}, 400, "top_logprobs", None),
        ({"system": 3}, 400, "system", None),
    ],
)
def test_bad_questions(ann, body, status, param, code):
    check(ask(ann, kept(ann)["id"], **{"question": "Who?", **body}), status, param, code)


def test_nothing_blocks_the_event_loop(monkeypatch):
    """Whatever takes its time runs where no event loop does."""
    seen = set()

    def watched(kind, name):
        original = getattr(kind, name)

        @functools.wraps(original)
        def wrapper(*args, **options):
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            seen.add(f"{kind.__name__}.{name}")
            return original(*args, **options)

        monkeypatch.setattr(kind, name, wrapper)

    for name in ("keep", "open", "room"):
        watched(FileStore, name)
    watched(DocumentReader, "read")
    watched(Witness, "__init__")
    for name in ("chat", "encode"):
        watched(ByteProcessor, name)
    with (
        running(ScriptedEngine(), ByteProcessor(), config()) as server,
        client_of(server, "ann") as ann,
    ):
        assert ask(ann, kept(ann, pdf("Who? !end"))["id"]).status_code == 200
    assert seen == {
        "FileStore.keep", "FileStore.open", "FileStore.room", "DocumentReader.read",
        "Witness.__init__", "ByteProcessor.chat", "ByteProcessor.encode",
    }  # fmt: skip


def test_metrics_count_all_documents_as_one_route(server, ann):
    assert ask(ann, kept(ann)["id"]).status_code == 200
    text = ann.get("/metrics").text
    assert 'route="/v1/documents"' in text
    assert 'route="/v1/documents/questions"' in text
    assert "doc-" not in text


def test_so_many_wait_to_be_read(monkeypatch):
    gate, read = threading.Event(), DocumentReader.read

    def slowly(self, *what):
        assert gate.wait(20)
        return read(self, *what)

    monkeypatch.setattr(DocumentReader, "read", slowly)
    with (
        running(ScriptedEngine(), ByteProcessor(), config(readers=1, uploads=16)) as server,
        client_of(server, "ann") as ann,
        ThreadPoolExecutor(9) as pool,
    ):
        desk = server.service.documents
        waiting = []
        for number in range(9):
            waiting.append(pool.submit(upload, ann, TEXT))
            server.wait_for(lambda count=number + 1: desk._being_read == count)
        response = upload(ann, TEXT)
        check(response, 503, None, "overloaded")
        assert response.headers["retry-after"]
        gate.set()
        codes = sorted(one.result().status_code for one in waiting)
        assert codes == [200] * 8 + [429]  # the quota's eight
        server.wait_for(lambda: desk._being_read == 0)


@pytest.mark.parametrize("parts", [1, 2, 5, 100])
def test_a_body_mentions_a_word_however_it_came(parts):
    body = b'{"a": "file"}'
    for data, there in ((body, True), (body.replace(b"file", b"fil"), False)):
        visit = Visit("", Load())
        size = -(-len(data) // parts)
        for start in range(0, len(data), size):
            visit.keep(data[start : start + size])
        assert visit.mentions(b'"file"') is there
        assert visit.take_body() == data
