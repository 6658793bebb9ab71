"""Documents as file parts of a conversation, by the official client."""

from __future__ import annotations

import base64

import httpx
import openai
import pytest
from serve.conftest import running
from serve.fake import ByteProcessor, ScriptedEngine
from serve.papers import locked, pdf
from serve.uploading import png

from mmspec.core.config import Config, DocumentsConfig, ServeConfig

TEXT = "The keeper of the lamp is Ann."
QUESTION = {"type": "text", "text": "Who?"}


@pytest.fixture(scope="module")
def server():
    config = Config(
        serve=ServeConfig(api_keys=("ann", "bob"), max_image_bytes=100_000),
        documents=DocumentsConfig(per_request=2, max_file_bytes=1 << 20),
    )
    with running(ScriptedEngine(), ByteProcessor(), config) as server:
        yield server


def client_of(server, key):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def ann(server):
    with client_of(server, "ann") as client:
        yield client


@pytest.fixture
def raw(server):
    headers = {"authorization": "Bearer ann"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
def asked(server, monkeypatch):
    """The prompts of requests as they reach the engine."""
    texts = []
    submit = server.engine.submit

    def listen(request):
        texts.append(bytes(id for id in request.prompt.ids.tolist() if id < 256).decode())
        submit(request)

    monkeypatch.setattr(server.engine, "submit", listen)
    return texts


def ask(client, *parts, **options):
    messages = [{"role": "user", "content": list(parts)}]
    return client.chat.completions.create(
        model="fake/model", messages=messages, max_tokens=5, **options
    )


def file_part(**file):
    return {"type": "file", "file": file}


def encoded(data, kind="application/pdf"):
    return f"data:{kind};base64," + base64.b64encode(data).decode()


def document(raw, text=TEXT):
    return raw.post("/v1/documents", files={"file": ("a.txt", text.encode())}).json()["id"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["file", "document", "data", "bare"])
def test_a_document_is_read_where_it_stands(ann, raw, asked, how, stream):
    data = pdf(TEXT)
    if how == "file":
        part = file_part(file_id=ann.files.create(file=("a.pdf", data), purpose="user_data").id)
    elif how == "document":
        part = file_part(file_id=document(raw))
    elif how == "data":
        part = file_part(file_data=encoded(data), filename="a.pdf")
    else:
        part = file_part(file_data=base64.b64encode(TEXT.encode()).decode())
    answer = ask(ann, part, QUESTION, stream=stream)
    if stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in answer) == "The q"
    assert asked == [f"{TEXT}\n\nWho?\n"]


def test_several_with_pictures_between(ann, raw, asked, server):
    picture = ann.files.create(file=("a.png", png()), purpose="vision").id
    seen = len(server.processor.pictures)
    answer = ask(
        ann,
        file_part(file_data=encoded(b"<!doctype html><p>One", "text/html")),
        file_part(file_id=picture),
        file_part(file_data=encoded(b"# Two", "text/markdown"), filename="b.md"),
        file_part(file_data=encoded(png("blue"), "image/png"), filename="b.png"),
        QUESTION,
    )
    assert asked == ["One\n\n# Two\n\nWho?\n"]
    assert len(server.processor.pictures) == seen + 2
    assert answer.usage.prompt_tokens_details.image_tokens == 8


def test_counted_as_one_would_ask(ann, raw):
    messages = [{"role": "user", "content": [file_part(file_id=document(raw)), QUESTION]}]
    body = {"model": "fake/model", "messages": messages}
    count = raw.post("/tokenize", json=body).json()["count"]
    answer = raw.post("/v1/chat/completions", json=body | {"max_tokens": 1}).json()
    assert count == answer["usage"]["prompt_tokens"] == len(TEXT) + 2 + 5


def test_not_there_or_not_theirs(server, ann, raw):
    mine = document(raw), ann.files.create(file=("a.txt", b"mine"), purpose="user_data").id
    with client_of(server, "bob") as bob:
        for id, noun in zip(
            (*mine, "doc-" + "0" * 32), ("Document", "File", "Document"), strict=True
        ):
            with pytest.raises(openai.NotFoundError) as caught:
                ask(bob, QUESTION, file_part(file_id=id))
            assert caught.value.param == "messages.0.content.1.file.file_id"
            assert caught.value.body["message"] == f"No such {noun} object: {id}"


@pytest.mark.parametrize(
    ("file", "status", "param", "code"),
    [
        ({"file_data": encoded(locked(pdf(TEXT)))}, 400, "file_data", "encrypted_document"),
        ({"file_data": encoded(b"\0\1\2")}, 400, "file_data", "invalid_document"),
        ({"file_data": encoded(b" ")}, 400, "file_data", "empty_document"),
        ({"file_data": "data:;base64,%%%"}, 400, "file_data", "invalid_document"),
        ({"file_data": encoded(b"x" * (2 << 20))}, 413, "file_data", "document_too_large"),
        ({"file_data": encoded(b"x"), "file_id": "file-1"}, 400, "file_id", None),
        ({"file_data": encoded(b"long " * 10_000)}, 400, None, "context_length_exceeded"),
    ],
)
def test_refused(ann, file, status, param, code):
    with pytest.raises(openai.APIStatusError) as caught:
        ask(ann, QUESTION, file_part(**file))
    place = "messages.0.content.1.file" + (f".{param}" if param else "")
    assert (caught.value.status_code, caught.value.param, caught.value.code) == (
        status,
        place,
        code,
    )


def test_so_many_documents(ann, raw):
    id = document(raw)
    assert ask(ann, *[file_part(file_id=id)] * 2, QUESTION)
    with pytest.raises(openai.BadRequestError) as caught:
        ask(ann, *[file_part(file_id=id)] * 3, QUESTION)
    assert caught.value.param == "messages.0.content.2.file"


def test_text_that_speaks_of_files_is_only_text(ann, asked):
    assert ask(ann, {"type": "text", "text": 'say "file" and "file_id"'})
    assert asked == ['say "file" and "file_id"\n']
