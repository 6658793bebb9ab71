"""What kind of document some bytes are, and plain text out of them.

Needs nothing but the standard library: the process that reads documents starts with it.
"""

from __future__ import annotations

import enum
import re
from pathlib import PurePosixPath
from typing import Literal

Kind = Literal["text", "markdown", "html", "pdf"]
HEAD = 1024  # bytes that say what a document is
_SUFFIXES: dict[str, Kind] = {
    ".md": "markdown", ".markdown": "markdown", ".htm": "html", ".html": "html", ".xhtml": "html",
}  # fmt: skip
_PAGE = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.{0,400}?-->\s*)?<(!doctype\s+html|html)\b", re.I | re.S
)
_BREAKS = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
# Neither text nor space; and halves of pairs, which no encoding of ours can write.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_BLANK_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")


class Why(enum.IntEnum):
    """Why a document cannot be read; also the exit status of the process that found out."""

    MALFORMED = 10
    ENCRYPTED = 11
    EMPTY = 12
    PAGES = 13
    LONG = 14
    COSTLY = 15


class UnreadableError(Exception):
    """There is no text to be had."""

    def __init__(self, why: Why) -> None:
        super().__init__(why.name.lower())
        self.why = why


def kind_of(head: bytes, filename: str) -> Kind:
    """What a document is: by its first bytes, and only where they say nothing by its name."""
    if b"%PDF-" in head:
        return "pdf"
    if _PAGE.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "html"
    return _SUFFIXES.get(PurePosixPath(filename).suffix.lower(), "text")


def plain(data: bytes) -> str:
    """Bytes of a text as text, its line ends made alike; nothing else is touched.

    Raises:
        UnreadableError: neither UTF-8 nor UTF-16 with its mark, or not text at all.
    """
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableError(Why.MALFORMED) from error
    if "\0" in text:
        raise UnreadableError(Why.MALFORMED)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def tidy(text: str) -> str:
    """Text that a program has put together, without what was never written by anybody."""
    text = _CONTROL.sub("", _BREAKS.sub("\n", text))
    return _BLANK_LINES.sub("\n\n", text).strip()
