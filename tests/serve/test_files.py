"""``/v1/files`` over a real socket, by the official client and by hostile ones."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import httpx
import openai
import pytest
from serve.conftest import running
from serve.fake import ByteProcessor, ScriptedEngine
from serve.uploading import TYPE, end, field, form, part, png

from mmspec.core.config import Config, FilesConfig, ServeConfig
from mmspec.serve import files
from mmspec.serve.blobs import Draft
from mmspec.serve.file_desk import FileDesk
from mmspec.serve.file_store import FileStore
from mmspec.serve.intake import Intake

FILES = "/v1/files"
LIMIT = 3 << 20
PICTURE = 1 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def desk(folder):
    """A server with two keys, so two owners."""
    config = Config(
        serve=ServeConfig(api_keys=("ann", "bob"), max_body_bytes=1 << 20, max_image_bytes=PICTURE),
        files=FilesConfig(
            directory=str(folder), max_file_bytes=LIMIT, owner_bytes=8 << 20, owner_files=12
        ),
    )
    with running(ScriptedEngine(), ByteProcessor(), config) as server:
        yield server


def client_of(server, key):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def ann(desk):
    with client_of(desk, "ann") as client:
        yield client
        for file in client.files.list():
            client.files.delete(file.id)


@pytest.fixture
def bob(desk):
    with client_of(desk, "bob") as client:
        yield client
        for file in client.files.list():
            client.files.delete(file.id)


@pytest.fixture
def raw(desk):
    headers = {"authorization": "Bearer ann"}
    with httpx.Client(base_url=desk.url, headers=headers, timeout=30) as client:
        yield client


def blobs(folder):
    return [path for path in (folder / "blobs").glob("*/*") if path.is_file()]


def upload(raw, body, kind=TYPE, **headers):
    return raw.post(FILES, content=body, headers={"content-type": kind, **headers})


def check(response, status, param=None, code=None):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert len(error["message"]) < 500
    assert (error["param"], error["code"]) == (param, code)
    return error


def test_a_life(ann, folder):
    before = time.time()
    made = ann.files.create(
        file=("red.png", png()), purpose="vision",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )  # fmt: skip
    assert made.id.startswith("file-")
    assert len(made.id) == 5 + 32
    assert (made.object, made.status, made.purpose) == ("file", "processed", "vision")
    assert (made.filename, made.bytes) == ("red.png", len(png()))
    assert int(before) <= made.created_at <= time.time()
    assert made.expires_at == made.created_at + 3600
    assert ann.files.retrieve(made.id) == made
    assert list(ann.files.list()) == [made]
    answer = ann.files.content(made.id)
    assert answer.content == png()
    assert len(blobs(folder)) == 1
    gone = ann.files.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "file", True)
    assert not blobs(folder)
    for refused in (ann.files.retrieve, ann.files.content, ann.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            refused(made.id)
        assert caught.value.body["message"] == f"No such File object: {made.id}"
        assert caught.value.type == "invalid_request_error"
        assert caught.value.param == "id"


def test_pages(ann):
    made = [ann.files.create(file=(f"{i}", b"%d" % i), purpose="user_data") for i in range(5)]
    ids = [file.id for file in made]
    assert [file.id for file in ann.files.list()] == ids[::-1]
    page = ann.files.list(limit=2, order="asc")
    assert page.has_more
    assert [file.id for file in page.data] == ids[:2]
    assert (page.model_extra["first_id"], page.model_extra["last_id"]) == (ids[0], ids[1])
    assert [file.id for file in page] == ids  # the client turns the pages
    assert not ann.files.list(limit=2, order="asc", after=ids[2]).has_more
    assert list(ann.files.list(purpose="vision")) == []
    for wrong in ({"limit": 0}, {"limit": 10_001}, {"limit": "x"}, {"order": "up"}):
        with pytest.raises(openai.BadRequestError) as caught:
            ann.files.list(**wrong)
        assert caught.value.param == next(iter(wrong))
    with pytest.raises(openai.NotFoundError):
        ann.files.list(after="file-nobody's")


def test_owners_are_strangers(ann, bob, raw):
    made = ann.files.create(file=("a", b"ann's"), purpose="user_data")
    assert list(bob.files.list()) == []
    refusals = set()
    for id in (made.id, "file-" + "0" * 32):
        for refused in (bob.files.retrieve, bob.files.content, bob.files.delete):
            with pytest.raises(openai.NotFoundError) as caught:
                refused(id)
            refusals.add(json.dumps(caught.value.body).replace(id, "ID"))
    assert len(refusals) == 1  # foreign and missing cannot be told apart
    same = bob.files.create(file=("b", b"ann's"), purpose="user_data")
    bob.files.delete(same.id)
    assert ann.files.content(made.id).content == b"ann's"
    with httpx.Client(base_url=raw.base_url) as stranger:
        assert stranger.get(f"{FILES}/{made.id}").status_code == 401
        assert upload(stranger, form()).status_code == 401


def test_downloads_are_inert(ann, raw):
    for data, kind in (
        (png(), "image/png"),
        (b"<html><script>alert(1)</script>", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ):
        made = ann.files.create(file=("page.html", data, "text/html"), purpose="user_data")
        answer = raw.get(f"{FILES}/{made.id}/content")
        assert answer.content == data
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-length"] == str(len(data))
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "no-store" in answer.headers["cache-control"]


HOSTILE = [
    "../../../etc/passwd", "/etc/passwd", "..", ".", "a/b\\c", "~root", "con.png\n\rSet-Cookie: x",
    'quo"te"; filename="b', "é🦊\u202egnp.exe", "%2e%2e%2f", "\x01\x1b[31m", "-rf *", "$(id)`id`",
    "x" * 255, "files.sqlite", "'; DROP TABLE files; --",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_filenames_are_data(ann, raw, folder, name):
    around = set(folder.parent.rglob("*"))
    response = upload(raw, form(b"hostile", filename=name))
    assert response.status_code == 200, response.text
    made = response.json()
    assert made["filename"] == name
    assert ann.files.retrieve(made["id"]).filename == name
    answer = raw.get(f"{FILES}/{made['id']}/content")
    assert answer.content == b"hostile"
    disposition = answer.headers["content-disposition"]
    start, _, quoted = disposition.partition("filename*=UTF-8''")
    assert start == "attachment; "
    assert unquote(quoted) == name
    assert not set(quoted) & set('"\\/;\r\n <>')
    assert "set-cookie" not in answer.headers
    new = {path.name for path in set(folder.parent.rglob("*")) - around}
    assert all(set(name) <= set("0123456789abcdef") for name in new)


def test_bad_forms(raw, ann):
    check(upload(raw, form(purpose="assistants")), 400, "purpose")
    check(upload(raw, b"nonsense"), 400, None, "invalid_multipart")
    check(upload(raw, form()[:-20]), 400, None, "invalid_multipart")
    check(upload(raw, b""), 400, None, "invalid_multipart")
    check(upload(raw, field("purpose", "vision") + end()), 400, "file")
    check(upload(raw, b"{}", "application/json"), 415)
    check(upload(raw, form(), **{"content-encoding": "gzip"}), 415)
    check(raw.put(FILES, content=b"x"), 405)
    check(raw.get(f"{FILES}/x/y/z"), 404)
    for odd in ("..%2f..%2fetc%2fpasswd", "%00", "%ff%fe", "é", "x" * 3000):
        assert raw.get(f"{FILES}/{odd}").json()["error"]["type"].endswith("_error")
    assert upload(raw, form(), "multipart/form-data").status_code == 415
    assert raw.post(f"{FILES}/", content=form(), headers={"content-type": TYPE}).status_code == 200
    assert len(list(ann.files.list())) == 1


def test_pictures_for_vision_are_looked_at(ann, raw):
    for data in (b"", b"%PDF-1.4", png()[:60], b"\x89PNG\r\n\x1a\n" + b"\0" * 50):
        with pytest.raises(openai.BadRequestError) as caught:
            ann.files.create(file=("a.png", data, "image/png"), purpose="vision")
        assert (caught.value.param, caught.value.code) == ("file", "invalid_image_format")
        assert ann.files.create(file=("a.png", data), purpose="user_data").bytes == len(data)
    wide = png(size=(17_000, 1))
    check(upload(raw, form(wide, "vision")), 400, "file", "image_too_large")


def settled(desk, folder):
    desk.wait_for(lambda: not list((folder / "incoming").iterdir()))


def test_too_large(raw, desk, folder, ann):
    check(upload(raw, form(b"x" * (LIMIT + 1))), 413, "file", "request_too_large")
    check(upload(raw, form(b"x" * (2 * LIMIT))), 413, None, "request_too_large")  # as declared
    pieces = [field("purpose", "user_data"), part(b"")[:-2], *[b"x" * (1 << 20)] * 12]
    response = upload(raw, iter(pieces))  # no length declared
    check(response, 413, "file", "request_too_large")
    settled(desk, folder)
    assert not blobs(folder)
    assert upload(raw, form(b"x" * LIMIT)).json()["bytes"] == LIMIT  # though no body may be so long


def test_a_picture_too_large(raw, desk, folder, ann):
    """Refused where its bytes pass the limit of pictures, and nothing of it is kept."""
    check(upload(raw, form(b"x" * (PICTURE + 1), "vision")), 413, "file", "request_too_large")
    late = part(b"x" * (PICTURE + 1)) + field("purpose", "vision") + end()
    check(upload(raw, late), 413, "file", "request_too_large")
    settled(desk, folder)
    assert not blobs(folder)
    padded = png() + b"\0" * (PICTURE - len(png()))
    assert upload(raw, form(padded, "vision")).json()["bytes"] == PICTURE
    assert upload(raw, form(b"x" * (PICTURE + 1))).status_code == 200  # it does not say so


def test_quota(raw, ann, bob, desk, folder):
    for letter in b"xy":
        assert upload(raw, form(bytes([letter]) * LIMIT)).status_code == 200
    pieces = [field("purpose", "user_data"), part(b"")[:-2], *[b"z" * (64 << 10)] * 40]
    response = upload(raw, iter(pieces))
    error = check(response, 429, "file", "storage_quota_exceeded")
    assert error["type"] == "rate_limit_error"
    assert response.headers["x-should-retry"] == "false"
    settled(desk, folder)
    assert bob.files.create(file=("b", b"x" * LIMIT), purpose="user_data")
    assert len(blobs(folder)) == 2
    for i in range(10):
        assert upload(raw, form(b"%d" % i)).status_code == 200
    check(upload(raw, form()), 429, "file", "storage_quota_exceeded")


def test_the_same_bytes_at_once(ann, folder, desk):
    data = b"shared" * 100_000
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda i: ann.files.create(file=(f"{i}", data), purpose="user_data"), range(8))
        )
        assert len({file.id for file in made}) == 8
        assert len(blobs(folder)) == 1
        kept, *others = made
        list(pool.map(lambda file: ann.files.delete(file.id), others))
    assert ann.files.content(kept.id).content == data
    ann.files.delete(kept.id)
    assert not blobs(folder)


def test_hanging_up_leaves_nothing(desk, folder):
    for sent in (form(b"x" * 2_000_000)[:1_500_000], form(b"x")[:30], b""):
        with socket.create_connection(("127.0.0.1", int(desk.url.rsplit(":", 1)[1]))) as link:
            link.sendall(
                b"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ann\r\n"
                b"content-type: %s\r\ncontent-length: 2500000\r\n\r\n" % TYPE.encode() + sent
            )
            time.sleep(0.1)
    settled(desk, folder)
    assert not blobs(folder)


def test_an_upload_takes_its_time():
    """Silence ends an upload; so does dripping."""
    config = Config(files=FilesConfig(upload_seconds=0.4))
    with running(ScriptedEngine(), ByteProcessor(), config) as server:

        def drip():
            yield form()[:-20]
            for _ in range(100):
                time.sleep(0.05)
                yield b"x"

        start = time.monotonic()
        with httpx.Client(base_url=server.url, timeout=10) as http:
            # The answer may be lost, as we are still sending when the connection is closed.
            with contextlib.suppress(httpx.RemoteProtocolError):
                check(upload(http, drip()), 408)
            assert time.monotonic() - start < 4
            assert upload(http, form()).status_code == 200  # no key: one owner, and room for all
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as link:
            link.settimeout(10)
            link.sendall(
                b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n"
                b"content-type: %s\r\n\r\n" % TYPE.encode() + form()[:50]
            )
            assert link.recv(65536).startswith(b"HTTP/1.1 408")


def test_silence_is_no_fault_of_the_disk(tmp_path):
    config = FilesConfig(directory=str(tmp_path / "files"))

    async def falls_silent():
        yield form()[:50]
        raise TimeoutError

    async def run():
        desk = FileDesk(config)
        await desk.open()
        try:
            headers = {b"content-type": TYPE}
            await Intake(desk, config, 1 << 20).take("", headers, falls_silent())
        finally:
            await desk.close()

    with pytest.raises(TimeoutError):
        asyncio.run(run())


def test_so_many_uploads_at_once(monkeypatch):
    begun = threading.Event()
    draft = FileStore.draft
    monkeypatch.setattr(FileStore, "draft", lambda self: (begun.set(), draft(self))[1])
    config = Config(files=FilesConfig(uploads=1))
    with running(ScriptedEngine(), ByteProcessor(), config) as server:
        gate = threading.Event()

        def slowly():
            yield form()[:50]
            gate.wait(10)
            yield form()[50:]

        with httpx.Client(base_url=server.url, timeout=30) as http, ThreadPoolExecutor(1) as pool:
            first = pool.submit(upload, http, slowly())
            assert begun.wait(10)
            response = upload(http, form())
            gate.set()
            check(response, 503, None, "overloaded")
            assert response.headers["retry-after"]
            assert first.result().status_code == 200
            assert upload(http, form()).status_code == 200


@pytest.fixture
def looked_at(monkeypatch):
    """Makes pictures wait to be looked at; yields (one is waiting, let it go on)."""
    begun, gate = threading.Event(), threading.Event()
    look = files.check_picture

    def waits(*what):
        begun.set()
        assert gate.wait(10)
        look(*what)

    monkeypatch.setattr(files, "check_picture", waits)
    yield begun, gate
    gate.set()


@pytest.mark.parametrize("data", [png(), b"no picture"], ids=["kept", "discarded"])
def test_an_upload_counts_until_it_is_kept_or_gone(looked_at, data):
    begun, gate = looked_at
    config = Config(files=FilesConfig(uploads=1))
    with (
        running(ScriptedEngine(), ByteProcessor(), config) as server,
        httpx.Client(base_url=server.url, timeout=30) as http,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(upload, http, form(data, "vision"))
        assert begun.wait(10)
        check(upload(http, form()), 503, None, "overloaded")
        gate.set()
        assert first.result().status_code == (200 if data == png() else 400)
        server.wait_for(lambda: upload(http, form()).status_code == 200)
        assert len(http.get(FILES).json()["data"]) == 1 + (data == png())


@pytest.mark.parametrize("purpose", ["vision", "user_data"])
def test_coming_bytes_count_until_they_are_kept_or_gone(looked_at, purpose):
    """Two uploads that the quota has room for one by one, the first of which is no picture."""
    begun, gate = looked_at
    config = Config(files=FilesConfig(owner_bytes=3000))
    with (
        running(ScriptedEngine(), ByteProcessor(), config) as server,
        httpx.Client(base_url=server.url, timeout=30) as http,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(upload, http, form(b"x" * 2000, "vision"))
        assert begun.wait(10)
        second = form(b"y" * 2000)
        check(upload(http, second), 429, "file", "storage_quota_exceeded")
        gate.set()
        assert first.result().status_code == 400
        server.wait_for(lambda: upload(http, second).status_code == 200)
        small = form(png() + b"\0" * (1000 - len(png())), purpose)
        assert upload(http, small).status_code == 200  # what is kept counts once
        check(upload(http, form(b"z")), 429, "file", "storage_quota_exceeded")


def test_nothing_blocks_the_event_loop(monkeypatch):
    """Whatever touches the disk runs where no event loop does."""
    seen = set()

    def watched(kind, name):
        original = getattr(kind, name)

        @functools.wraps(original)
        def wrapper(*args, **options):
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            seen.add(name)
            return original(*args, **options)

        monkeypatch.setattr(kind, name, wrapper)

    for name in ("start", "close", "room", "keep", "find", "page", "open", "delete", "sweep"):
        watched(FileStore, name)
    for name in ("write", "finish", "discard"):
        watched(Draft, name)
    config = Config(files=FilesConfig(sweep_seconds=0.05))
    with running(ScriptedEngine(), ByteProcessor(), config) as server:
        with client_of(server, "any") as client:
            made = client.files.create(file=("a", png()), purpose="vision")
            assert client.files.content(made.id).content == png()
            assert client.files.retrieve(made.id) == client.files.list().data[0]
            client.files.delete(made.id)
        server.wait_for(lambda: "sweep" in seen)
    assert seen == {"start", "close", "room", "keep", "find", "page", "open", "delete", "sweep",
                    "write", "finish", "discard"}  # fmt: skip


def test_a_megabyte_in_memory(monkeypatch, desk, ann):
    sizes = []
    write = Draft.write
    monkeypatch.setattr(
        Draft, "write", lambda self, data: (sizes.append(len(data)), write(self, data))
    )
    ann.files.create(file=("a", b"x" * LIMIT), purpose="user_data")
    assert sum(sizes) == LIMIT
    assert max(sizes) < (1 << 20) + (256 << 10)


FULL = OSError(28, "No space left on device: /secret/path")
BROKEN = sqlite3.DatabaseError("malformed: /secret/path")


@pytest.mark.parametrize(("failure", "status"), [(FULL, 507), (BROKEN, 500)])
def test_failing_disk(monkeypatch, raw, desk, folder, ann, failure, status):
    def fail(*_):
        raise failure

    for name, place in (("write", Draft), ("keep", FileStore), ("room", FileStore)):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fail)
            response = upload(raw, form())
        error = check(response, status, None, "storage_fault")
        assert "secret" not in error["message"]
        assert response.headers["x-should-retry"] == "false"
    settled(desk, folder)
    assert upload(raw, form()).status_code == 200
