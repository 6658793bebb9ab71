"""Fetching pictures: nothing but public addresses, within bounds, and one answer to all else."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import shutil
import ssl
import subprocess
import threading
import time
import traceback
from ipaddress import IPv4Address, IPv6Address, ip_address

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serve.conftest import running
from serve.fake import ByteProcessor, ScriptedEngine
from serve.uploading import png
from serve.web import PUBLIC, Web, page

from mmspec.core.config import Config, FetchConfig
from mmspec.core.errors import BadRequestError, OverloadedError
from mmspec.serve import fetch as fetching
from mmspec.serve.fetch import Fetcher
from mmspec.serve.remote_url import NotAllowedError, is_public, parse

ONE = "the image could not be fetched"
URL = "http://a.org/x"
OPEN = {"schemes": ("http", "https"), "seconds": 5.0}


@pytest.fixture(autouse=True, scope="module")
def _one_context():
    """Reading the system's certificates takes longer than most tests here."""
    make = ssl.create_default_context
    context = make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ssl, "create_default_context",
            lambda *where, **how: make(*where, **how) if where or how else context,
        )  # fmt: skip
        yield


def fetch(web, *urls, **options):
    """What a fetcher makes of some URLs, in a web of their own."""

    async def run():
        fetcher = Fetcher(FetchConfig(**OPEN | options), web.resolve, web.connect)
        try:
            async with (
                web.open(),
                fetcher.fetch({url: f"f{i}" for i, url in enumerate(urls)}) as got,
            ):
                return [got[url] for url in urls]
        finally:
            fetcher.close()

    return asyncio.run(run())


def refused(web, url=URL, **options):
    with pytest.raises(BadRequestError) as caught:
        fetch(web, url, **options)
    assert (caught.value.param, caught.value.code) == ("f0", "invalid_image_url")
    assert caught.value.__cause__ is None or "URLs" in str(caught.value)
    return str(caught.value)


def test_fetched():
    web = Web({"/x?a=1": page(b"picture"), "/y": page(b"another", connection="close")})
    assert fetch(web, "http://a.org/x?a=1", "http://B.org:80/y#part") == [b"picture", b"another"]
    assert sorted(web.lookups) == ["a.org", "b.org"]
    assert web.reached == [(PUBLIC, 80, False)] * 2
    first = next(request for request in web.heard if "a.org" in request).lower()
    assert first.startswith("get /x?a=1 http/1.1\r\nhost: a.org\r\n")
    assert "accept-encoding: identity" in first
    assert not any(word in first for word in ("cookie", "authorization", "referer"))


def test_chunks_and_closing():
    chunked = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    )
    until_end = b"HTTP/1.1 200 OK\r\n\r\nall there is"
    assert fetch(Web({"/x": chunked}), URL) == [b"abcdefg"]
    assert fetch(Web({"/x": until_end}), URL) == [b"all there is"]


INSIDE = [
    "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "0.0.0.0", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "168.63.129.16", "192.88.99.1",
    "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "::7f00:1",
    "::ffff:127.0.0.1", "::ffff:93.184.215.14", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1",
    "64:ff9b:1::1", "2002:7f00:1::", "2002:5db8:d70e::1", "2001::1", "2001:db8::1", "100::1",
    "3fff::1", "5f00::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_inside_is_out_of_reach(address):
    """By name, by name among public ones, and written out."""
    for found in ([address], [PUBLIC, address], [address, PUBLIC]):
        web = Web({"/x": page(b"secret")}, {"a.org": found})
        assert refused(web) == ONE
        assert web.lookups == ["a.org"]
        assert not web.reached
    web = Web({"/x": page(b"secret")})
    refused(web, f"http://[{address}]/x" if ":" in address else f"http://{address}/x")
    assert not web.lookups
    assert not web.reached


def test_outside_is_within_reach():
    for address in (PUBLIC, "8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8"):
        web = Web({"/x": page(b"p")}, {"a.org": [address]})
        assert fetch(web, URL) == [b"p"]
        assert web.reached[0][0] == str(ip_address(address))


@given(st.ip_addresses())
def test_public_is_never_special(address):
    if not is_public(address):
        return
    if isinstance(address, IPv6Address) and address.packed[:12] == b"\0\x64\xff\x9b" + b"\0" * 8:
        address = IPv4Address(address.packed[-4:])
    special = (address.is_private, address.is_loopback, address.is_link_local,
               address.is_multicast, address.is_reserved, address.is_unspecified)  # fmt: skip
    assert not any(special)
    assert getattr(address, "ipv4_mapped", None) is None


@given(st.ip_addresses(v=4))
def test_wrapping_changes_no_verdict(address):
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
    translated = IPv6Address(b"\0\x64\xff\x9b" + b"\0" * 8 + address.packed)
    assert not is_public(mapped)
    assert is_public(translated) == is_public(address)


BAD = [
    "ftp://a.org/x", "file:///etc/passwd", "gopher://a.org/", "http:/a.org/x", "http://", "http:",
    "http://user@a.org/", "http://user:pw@a.org/", "http://a.org@127.0.0.1/", "http://@a.org/",
    "http://a.org\\@127.0.0.1/", "http://a.org\\.b.org/", "http://a.org/ x", "http://a.org/\r\nx:y",
    "http://a.org/\tx", "http://a.org/\x00", "http://ä.org/", "http://a。org/", "http://a.org/é",
    "http://localhost/", "http://metadata/", "http://a/", "http://0x7f.1/", "http://0x7f000001/",
    "http://2130706433/", "http://017700000001/", "http://127.1/", "http://0/", "http://1.2.3.4.5/",
    "http://01.02.03.04/", "http://[::1]/", "http://[::ffff:7f00:1]/", "http://[::1/", "http://::1/",
    "http://[2606:4700::1111%25eth0]/", "http://[2606:4700::1111%eth0]/", "http://a..org/",
    "http://-a.org/", "http://a.org:22/", "http://a.org:0/", "http://a.org:99999/", "http://a.org:x/",
    "http://a.org:8080/", "http://" + "a." * 130 + "org/", "http://a.org/" + "x" * 5000,
    "http://a.org%2f.b.org/", "http://a.org%00.b.org/", "http://<a>.org/", "//a.org/x", "a.org/x",
]  # fmt: skip


@pytest.mark.parametrize("url", BAD, ids=range(len(BAD)))
def test_bad_urls(url):
    web = Web({})
    refused(web, url)
    assert not web.lookups


@given(st.text(max_size=60), st.sampled_from(["http://a.org", "http://", "https://b.org:443/", ""]))
def test_what_is_parsed_is_plain(text, start):
    try:
        url = parse(start + text, FetchConfig(schemes=("http", "https")))
    except NotAllowedError:
        return
    assert url.port in (80, 443)
    assert "@" not in url.authority
    assert url.target.startswith("/")
    assert all("!" <= letter <= "~" for letter in url.authority + url.target)
    again = parse(
        f"{url.scheme}://{url.authority}{url.target}", FetchConfig(schemes=("http", "https"))
    )
    assert again == url


def test_the_list_of_hosts():
    config = FetchConfig(hosts=("Pics.org", ".cdn.net"))
    for host in ("pics.org", "PICS.org.", "a.cdn.net", "a.b.cdn.net"):
        assert parse(f"https://{host}/", config)
    for host in ("x.pics.org", "cdn.net", "evilcdn.net", "pics.org.evil.net", "8.8.8.8"):
        with pytest.raises(NotAllowedError):
            parse(f"https://{host}/", config)
    web = Web({"/x": page(status="302 Found", location="http://b.org/x")})
    assert refused(web, hosts=("a.org",)) == ONE
    assert web.lookups == ["a.org"]


def test_https_alone_by_default():
    with pytest.raises(NotAllowedError):
        parse("http://a.org/", FetchConfig())
    web = Web({"/x": page(b"p")})
    assert fetch(web, "https://a.org/x") == [b"p"]
    assert web.reached == [(PUBLIC, 443, True)]  # with TLS, though this web has none


def test_the_certificate_must_be_the_names(monkeypatch):
    asked = {}

    async def opened(*place, **options):
        asked.update(options, place=place)
        return "streams"

    monkeypatch.setattr(asyncio, "open_connection", opened)
    url = parse("https://a.org/x", FetchConfig())
    fetcher = Fetcher(FetchConfig())
    streams = asyncio.run(fetching.connect(url, ip_address(PUBLIC), fetcher._tls))
    fetcher.close()
    assert streams == "streams"
    assert asked["place"] == (PUBLIC, 443)
    assert asked["server_hostname"] == "a.org"
    assert asked["ssl"].verify_mode == ssl.CERT_REQUIRED
    assert asked["ssl"].check_hostname


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate")
def test_a_handshake(tmp_path):
    """By the real way out: the name is checked though the connection goes to an address."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=a.org", "-addext", "subjectAltName=DNS:a.org",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate, key)

    async def run(trusted, *hosts):
        web = Web({"/x": page(b"p")})

        async def connect(url, _address, tls):
            here = dataclasses.replace(url, port=web.port)
            return await fetching.connect(here, ip_address("127.0.0.1"), tls)

        fetcher = Fetcher(FetchConfig(), web.resolve, connect)
        if trusted:
            fetcher._tls = ssl.create_default_context(cafile=certificate)
        try:
            async with web.open(ours), fetcher.fetch({f"https://{h}/x": h for h in hosts}) as got:
                return list(got.values())
        finally:
            fetcher.close()

    assert asyncio.run(run(True, "a.org")) == [b"p"]
    for trusted, host in ((True, "b.org"), (False, "a.org")):
        with pytest.raises(BadRequestError, match=ONE):
            asyncio.run(run(trusted, host))


def moved(where, status="302 Found"):
    return page(status=status, location=where)


def test_redirects():
    web = Web({"/x": moved("/y"), "/y": moved("http://b.org/z?q"), "/z?q": page(b"there")})
    assert fetch(web, URL) == [b"there"]
    assert web.lookups == ["a.org", "a.org", "b.org"]  # every step is looked at anew


@pytest.mark.parametrize("where", [
    "http://127.0.0.1/y", "http://[::1]/y", "http://inner.org/y", "http://169.254.169.254/latest",
    "http://u:p@b.org/y", "ftp://b.org/y", "file:///etc/passwd", "http://b.org:22/y", "//local/y",
    "http://b.org\\@inner.org/y", "", "/é", "http://0x7f.1/y", "data:image/png;base64,aaaa",
])  # fmt: skip
def test_redirects_to_nowhere(where):
    web = Web({"/x": moved(where), "/y": page(b"secret")}, {"inner.org": ["10.0.0.1"]})
    assert refused(web) == ONE
    assert {address for address, _, _ in web.reached} == {PUBLIC}
    assert all("/y" not in request for request in web.heard)


def test_redirects_without_end():
    web = Web({"/x": moved("/x")})
    assert refused(web, redirects=3) == ONE
    assert len(web.reached) == 4
    assert refused(Web({"/x": moved("/y"), "/y": page(b"p")}), redirects=0) == ONE


def test_no_way_back_from_https():
    web = Web({"/x": moved("http://a.org/y"), "/y": page(b"p")})
    assert refused(web, "https://a.org/x") == ONE


def test_rebinding():
    """A name that is public when looked at, and inside the next time."""
    web = Web({"/x": page(b"p")}, {"a.org": [[PUBLIC], ["127.0.0.1"]]})
    assert fetch(web, URL) == [b"p"]
    assert web.lookups == ["a.org"]  # what was checked is what was connected to
    assert web.reached == [(PUBLIC, 80, False)]
    web = Web({"/x": moved("/y"), "/y": page(b"p")}, {"a.org": [[PUBLIC], ["127.0.0.1"]]})
    assert refused(web) == ONE
    assert len(web.reached) == 1


def test_the_next_address_where_one_is_dead():
    web = Web({"/x": page(b"p")}, {"a.org": ["2606:4700::1111", PUBLIC]})
    connect = web.connect

    async def no_ipv6(url, address, tls):
        if address.version == 6:
            raise OSError("unreachable")
        return await connect(url, address, tls)

    web.connect = no_ipv6
    assert fetch(web, URL) == [b"p"]


def test_the_next_address_where_one_is_silent():
    """A firewall that drops what it is sent: nothing fails, and nothing comes."""
    web = Web({"/x": page(b"p")}, {"a.org": ["8.8.8.8", "8.8.4.4", PUBLIC]})
    connect = web.connect

    async def dropped(url, address, tls):
        if str(address) != PUBLIC:
            await asyncio.sleep(60)
        return await connect(url, address, tls)

    web.connect = dropped
    assert fetch(web, URL, seconds=2.0) == [b"p"]


async def drip_head(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(200):
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_body(writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(200):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silence(writer):
    await asyncio.sleep(4)


async def slow_refusal(writer):
    await asyncio.sleep(0.2)
    writer.write(page(b"", "404 Not Found"))


async def slow_redirect(writer):
    await asyncio.sleep(0.15)
    writer.write(moved("/x"))


@pytest.mark.parametrize("said", [drip_head, drip_body, silence, slow_redirect])
def test_slowness(said):
    start = time.monotonic()
    assert refused(Web({"/x": said}), seconds=0.4, redirects=9) == ONE
    assert time.monotonic() - start < 2


def test_a_slow_name_server():
    web = Web({"/x": page(b"p")})
    gate = threading.Event()
    web.resolve = lambda host, port: gate.wait(4) and []
    start = time.monotonic()
    assert refused(web, seconds=0.2) == ONE
    assert time.monotonic() - start < 2
    gate.set()


def test_dead_names_keep_nobody_else_waiting():
    """Sixteen names that never answer, in one request, and what another asks for meanwhile."""
    web = Web({"/x": page(b"p")})
    resolve, gate, asked = web.resolve, threading.Event(), []

    def sometimes(host, port):
        if host.endswith(".dead.org"):
            asked.append(host)
            gate.wait(20)
            return []
        return resolve(host, port)

    async def run():
        fetcher = Fetcher(FetchConfig(**OPEN | {"seconds": 0.5}), sometimes, web.connect)
        dead = {f"http://{i}.dead.org/x": "f" for i in range(16)}

        async def wait():
            async with fetcher.fetch(dead):
                pass

        try:
            async with web.open():
                waiting = asyncio.ensure_future(wait())
                await asyncio.sleep(0.1)
                async with fetcher.fetch({URL: "f"}) as got:
                    assert got == {URL: b"p"}
                with pytest.raises(BadRequestError, match=ONE):
                    await waiting
                await asyncio.sleep(0.1)  # nor does its end send the others after them
        finally:
            gate.set()
            fetcher.close()

    asyncio.run(run())
    assert len(asked) == 2


def test_one_look_up_after_another():
    pages = {f"/{i}": page(b"%d" % i) for i in range(9)}
    web = Web(pages)
    resolve, lock, now, most = web.resolve, threading.Lock(), [0], [0]

    def counted(host, port):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return resolve(host, port)

    web.resolve = counted
    assert fetch(web, *(f"http://a.org/{i}" for i in range(9))) == [b"%d" % i for i in range(9)]
    assert most == [2]


async def endless(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def framed(writer):
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(40_000):
        writer.write(b"1;" + b"e" * 20 + b"\r\nx\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n")


OVER = {
    "declared": page(b"x" * 3000),
    "endless": endless,
    "framing": framed,
    "long head": b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 40_000 + b"\r\n\r\n",
    "informed": b"HTTP/1.1 100 Continue\r\n\r\n" * 9000 + page(b"x"),
}


@pytest.mark.parametrize("name", OVER)
def test_too_much(name):
    limit = 1 << 20 if name == "framing" else 2000
    assert refused(Web({"/x": OVER[name]}), max_bytes=limit) == ONE


def test_too_much_together():
    pages = {f"/{i}": page(b"x" * 1000) for i in range(4)}
    urls = [f"http://a.org/{i}" for i in range(4)]
    assert len(fetch(Web(pages), *urls, request_bytes=4000)) == 4
    with pytest.raises(BadRequestError, match=ONE):
        fetch(Web(pages), *urls, request_bytes=3999)


@pytest.mark.parametrize("said", [
    page(b"secret", "404 Not Found"), page(b"secret", "500 Oops"), page(b"secret", "401 Who"),
    page(b"secret", "206 Partial Content"), page(b"", "204 No Content"), page(b"s", "304 Same"),
    b"SSH-2.0-OpenSSH_9.6 secret\r\n", b"", b"\0" * 100, page(b"x", content_length="9"),
    page(b"x", content_encoding="gzip"), page(b"x", content_encoding="br"), page(b"x", "302 Found"),
    b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
], ids=range(15))  # fmt: skip
def test_one_answer_to_all_else(said, caplog):
    assert refused(Web({"/x": said})) == ONE


def test_nobody_there():
    web = Web({}, {"a.org": []})
    assert refused(web) == ONE
    web = Web({})

    async def nobody(url, address, tls):
        raise ConnectionRefusedError("secret detail")

    web.connect = nobody
    assert refused(web) == ONE


def test_so_many_requests_at_a_time():
    async def run():
        web = Web({"/x": page(b"p")})
        fetcher = Fetcher(FetchConfig(**OPEN, requests=1), web.resolve, web.connect)
        order = []

        async def one(name):
            async with fetcher.fetch({URL: "f"}):
                order.append(name)
                await asyncio.sleep(0.05)
                order.append(name)

        async with web.open():
            await asyncio.gather(*(one(name) for name in "abc"))
        fetcher.close()
        return order

    order = asyncio.run(run())
    assert order[::2] == order[1::2]


def test_bytes_go_with_the_slot():
    """Whoever still has the dictionary, or the failure, has no bytes of pictures."""

    async def run():
        web = Web({"/x": page(b"p"), "/late": slow_refusal})
        fetcher = Fetcher(FetchConfig(**OPEN), web.resolve, web.connect)
        try:
            async with web.open():
                async with fetcher.fetch({URL: "f"}) as got:
                    held = [*got.values()]
                with pytest.raises(BadRequestError) as caught:
                    async with fetcher.fetch({URL: "f", "http://a.org/late": "f"}):
                        pass
                return got, held, caught.value
        finally:
            fetcher.close()

    got, held, failure = asyncio.run(run())
    assert held == [b"p"]
    assert got == {}
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(failure.__traceback__)]
    assert any("tasks" in names for names in frames)
    assert not any(names.get("tasks") for names in frames)


def test_no_endless_wait_for_others():
    async def run():
        web = Web({"/x": page(b"p")})
        fetcher = Fetcher(
            FetchConfig(**OPEN | {"seconds": 0.5}, requests=1), web.resolve, web.connect
        )
        async with web.open():
            async with fetcher.fetch({URL: "f"}):
                with pytest.raises(OverloadedError):
                    async with fetcher.fetch({URL: "f"}):
                        pass
            async with fetcher.fetch({URL: "f"}) as got:
                fetcher.close()
                return dict(got)

    assert asyncio.run(run()) == {URL: b"p"}


@pytest.fixture
def fetching_server():
    """A server that may fetch, and a web beside it."""
    web = Web(
        {"/red.png": page(png("red"), content_type="text/html"), "/x": page(b"<html>secret")},
        {"inner.org": ["192.168.0.1"]},
    )
    config = Config(fetch=FetchConfig(enabled=True, **OPEN))
    loop = asyncio.new_event_loop()
    opened, over = threading.Event(), asyncio.Event()

    async def stand():
        async with web.open():
            opened.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(stand(),))
    thread.start()
    opened.wait(5)
    fetcher = Fetcher(config.fetch, web.resolve, web.connect)
    try:
        with running(
            ScriptedEngine(), ByteProcessor(), config, service_options={"fetcher": fetcher}
        ) as server:
            server.web = web
            yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(5)
        loop.close()


def ask(client, url, **options):
    part = {"type": "image_url", "image_url": {"url": url}}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "what?"}]}]
    return client.chat.completions.create(
        model="fake/model", messages=messages, max_tokens=9, **options
    )


def test_in_a_conversation(fetching_server):
    server = fetching_server
    with server.client() as client:
        sent = ask(client, "data:image/png;base64," + base64.b64encode(png("red")).decode())
        got = ask(client, "http://pics.org/red.png")
        assert got.choices == sent.choices
        assert got.usage == sent.usage
        first, second = server.processor.pictures
        assert first.tobytes() == second.tobytes()
        told = {}
        for url in (
            "http://inner.org/x",
            "http://pics.org/x",
            "http://localhost/",
            "ftp://a.org/x",
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                ask(client, url, stream=True)
            assert caught.value.param == "messages.0.content.0.image_url.url"
            assert "secret" not in str(caught.value)
            told[url] = caught.value.code
        assert told["http://pics.org/x"] == "invalid_image_format"  # judged by its bytes
        assert told["http://inner.org/x"] == "invalid_image_url"
        before = len(server.web.lookups)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(
                model="other",
                messages=[
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "http://b.org/"}}],
                    }
                ],
            )
        assert len(server.web.lookups) == before
