"""Bytes to text: every kind, and whatever wants to be more than it may."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serve.papers import locked, pdf, pdf_of

from mmspec.core.config import DocumentsConfig
from mmspec.core.errors import BadRequestError
from mmspec.serve import document_reader
from mmspec.serve.document_html import html_text
from mmspec.serve.document_reader import DocumentReader
from mmspec.serve.document_text import Why, kind_of, plain, tidy
from mmspec.serve.errors import HttpError

FACT = "The keeper of the lamp is Ann."


@pytest.fixture
def read(tmp_path):
    """Reads bytes as a document of some name, within some bounds."""

    def read(data, filename="a", **bounds):
        path = tmp_path / "document"
        path.write_bytes(data)
        with path.open("rb") as source:
            return DocumentReader(DocumentsConfig(**bounds)).read(source, filename, "file")

    return read


def refused(read, data, filename="a", **bounds):
    with pytest.raises((BadRequestError, HttpError)) as caught:
        read(data, filename, **bounds)
    error = caught.value
    if isinstance(error, HttpError):
        assert (error.status, error.body.error.param) == (413, "file")
        return error.body.error.code
    assert error.param == "file"
    return error.code


@pytest.mark.parametrize(
    ("data", "filename", "kind"),
    [
        (b"hello", "a.txt", "text"),
        (b"# hello", "a.md", "markdown"),
        (b"# hello", "A.MARKDOWN", "markdown"),
        (b"<p>hello", "a.html", "html"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><p>hello", "a.txt", "html"),
        (b"<?xml version='1.0'?>\n<html><p>hello", "a", "html"),
        (b"<!-- x --><HTML>", "a", "html"),
        (b"<htmlx>", "a", "text"),
        (b"%PDF-1.7", "a.html", "pdf"),
        (b"junk\n%PDF-1.7", "../../a", "pdf"),
        (b"", "", "text"),
    ],
)
def test_kinds(data, filename, kind):
    assert kind_of(data, filename) == kind


def test_text_stays_as_it_is_but_for_its_line_ends(read):
    text = "\tFirst “line”  \r\n\r\n\r\n\r\n second\rthird\x0bform\n"
    for data in (text.encode(), text.encode("utf-8-sig"), text.encode("utf-16")):
        got = read(data)
        assert (got.kind, got.text) == (
            "text", "\tFirst “line”  \n\n\n\n second\nthird\x0bform\n"
        )  # fmt: skip
    assert read(b"# *a*\n", "a.md").text == "# *a*\n"


@pytest.mark.parametrize(
    "data", [b"\xff\xfea", b"a\0b", b"\x80", b"PK\x03\x04\0\0", "ü".encode("latin-1")]
)
def test_bytes_that_are_no_text(read, data):
    assert refused(read, data) == "invalid_document"


@pytest.mark.parametrize("data", [b"", b" \n\t ", b"<!doctype html><script>var a</script>"])
def test_nothing_to_read(read, data):
    assert refused(read, data) == "empty_document"


@given(st.text())
def test_text_is_never_changed_otherwise(text):
    clean = text.replace("\0", "").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert plain(clean.encode("utf-8", "replace")) == clean.encode("utf-8", "replace").decode()


PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>The &amp; title</title>
<style>p { color: red }</style><script>if (a < b) document.write("<p>no</p>")</script></head>
<body><h1>Head</h1><p>One  <b>bold</b>
 word &eacute;&#233;&lt;.</p><ul><li>first<li>second</ul><table><tr><td>a</td><td>b</td></tr>
<tr><td>c</td></tr></table><template><p>unseen</p></template><svg><text>no<svg>no</svg></text></svg>
<pre>keep
   this</pre><p>last<br/>line</p></div></p></body></html>"""


def test_a_page_as_it_is_seen(read):
    got = read(PAGE.encode(), "a")
    assert (got.kind, got.text) == (
        "html",
        "The & title\n\nHead\n\nOne bold word éé<.\n\nfirst\nsecond\n\na\tb\nc\n\n"
        "keep\n   this\n\nlast\nline",
    )


def test_the_encoding_of_a_page():
    assert html_text('<html><meta charset="latin-1"><p>é'.encode("latin-1")) == "é"
    said = '<meta http-equiv="content-type" content="text/html; charset=windows-1251">Да'
    assert html_text(said.encode("cp1251")) == "Да"
    assert html_text("\ufeff<p>é".encode()) == "é"
    assert html_text("<p>é".encode("utf-16")) == "é"


@pytest.mark.parametrize(
    "data", [b'<html><meta charset="zip">a', b"<html>\xff", b'<html><meta charset="no">']
)
def test_a_page_in_no_encoding(read, data):
    assert refused(read, data) == "invalid_document"


@given(st.text(st.sampled_from("<>/!-&;#\"'= \npbrescriptyl")))
def test_any_page_is_read(text):
    found = html_text(text.encode())
    assert found == found.strip() == tidy(found)


def test_a_pdf_page_by_page(read):
    got = read(pdf(FACT, "", "Second page.", filters=1))
    assert (got.kind, got.text) == ("pdf", f"{FACT}\n\nSecond page.")


def test_a_pdf_that_anybody_may_open(read):
    assert read(locked(pdf(FACT), "")).text == FACT


@pytest.mark.parametrize(
    ("data", "bounds", "code"),
    [
        (locked(pdf(FACT)), {}, "encrypted_document"),
        (pdf(""), {}, "empty_document"),
        (pdf(FACT, FACT, FACT), {"pages": 2}, "document_too_large"),
        (pdf(FACT * 10), {"max_text_bytes": 100}, "document_too_large"),
        (pdf(FACT), {"max_file_bytes": 100}, "document_too_large"),
        (b"%PDF-1.4\nnothing", {}, "invalid_document"),
        (pdf(FACT)[:200], {}, "invalid_document"),
        (b"x" * 101, {"max_text_bytes": 100}, "document_too_large"),
        ("é".encode() * 51, {"max_text_bytes": 100}, "document_too_large"),
        (b"<html>" + b"x" * 101, {"max_text_bytes": 100}, "document_too_large"),
    ],
    ids=str,
)
def test_refused(read, data, bounds, code):
    assert refused(read, data, **bounds) == code


def bomb():
    """A page whose stream unpacks to a gigabyte of spaces."""
    packer = zlib.compressobj(9)
    piece = b" " * (1 << 20)
    packed = b"".join([packer.compress(piece) for _ in range(1 << 10)] + [packer.flush()])
    length = f"/Length {len(packed)} ".encode()
    return pdf_of(packed).replace(length, length + b"/Filter /FlateDecode")


def test_a_bomb_does_not_go_off(read):
    data = bomb()
    assert len(data) < 2 << 20
    start = time.monotonic()
    assert refused(read, data) == "costly_document"
    assert time.monotonic() - start < 30


GREEDY = """
import sys
from mmspec.serve import document_process
document_process.parser_of = lambda *_: lambda source: str(len(bytearray({size} << 20)))
sys.exit(document_process.main(["pdf", "20", str(256 << 20), "9", "1000"]))
"""


@pytest.mark.parametrize(("size", "status"), [(16, 0), (1024, Why.COSTLY)])
def test_memory_is_bounded_whatever_the_parser_does(size, status):
    command = [sys.executable, "-c", GREEDY.format(size=size)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == status
    assert bool(done.stdout) == (status == 0)


def test_time_is_bounded(read, tmp_path):
    slow = pdf_of(b"BT /F1 12 Tf " + b"(a) Tj 1 0 0 1 5 5 Tm " * 400_000 + b"ET")
    start = time.monotonic()
    assert refused(read, slow, read_seconds=1.0) == "costly_document"
    assert time.monotonic() - start < 15
    # With nobody watching the clock, the system ends the process.
    path = tmp_path / "slow.pdf"
    path.write_bytes(slow)
    command = [sys.executable, "-m", "mmspec.serve.document_process"]
    with path.open("rb") as source:
        done = subprocess.run(
            [*command, "pdf", "1", str(1 << 30), "9", "100000000"], stdin=source, check=False
        )
    assert done.returncode == -signal.SIGKILL


def test_a_reader_that_breaks_is_our_fault(read, monkeypatch):
    monkeypatch.setattr(document_reader, "_PROGRAM", "mmspec.serve.nowhere")
    with pytest.raises(RuntimeError, match="status 1"):
        read(pdf(FACT))
