"""The text of an HTML page: what a reader would see, paragraph by paragraph."""

from __future__ import annotations

import codecs
import re
from html.parser import HTMLParser

from mmspec.serve.document_text import HEAD, UnreadableError, Why, tidy

_UNSEEN = frozenset(
    {"script", "style", "template", "noscript", "svg", "math", "iframe", "object", "select"}
)
_APART = frozenset(
    {"address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details",
     "dialog", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2",
     "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "legend", "main", "nav", "ol", "p", "pre",
     "section", "summary", "table", "tbody", "tfoot", "thead", "title", "ul"}
)  # fmt: skip
_LINES = frozenset({"br", "li", "tr", "option"})
_CELLS = frozenset({"td", "th"})
_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.I)
_SPACES = re.compile(r"[ \t\n\r\f]+")


class _Page(HTMLParser):
    """Collects what is seen; whitespace is what a browser would make of it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._unseen: list[str] = []  # elements we are inside of whose content is not shown
        self._kept = 0  # ``pre`` elements we are inside of

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        if tag in _UNSEEN or (self._unseen and tag == self._unseen[-1]):
            self._unseen.append(tag)
        elif not self._unseen:
            self._kept += tag == "pre"
            self._space(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content."""
        if not self._unseen:
            self._space(tag)

    def handle_endtag(self, tag: str) -> None:
        """An element ends; ends without a beginning are common."""
        if self._unseen:
            if tag == self._unseen[-1]:
                self._unseen.pop()
            return
        self._kept = max(self._kept - (tag == "pre"), 0)
        if tag not in _LINES | _CELLS:
            self._space(tag)

    def handle_data(self, data: str) -> None:
        """Text."""
        if self._unseen:
            return
        if not self._kept:
            data = _SPACES.sub(" ", data)
            if self.pieces and self.pieces[-1][-1:].isspace():
                data = data.lstrip(" ")
        self.pieces.append(data)

    def _space(self, tag: str) -> None:
        if tag in _APART:
            self.pieces.append("\n\n")
        elif tag in _LINES:
            self.pieces.append("\n")
        elif tag in _CELLS and self.pieces and not self.pieces[-1].endswith("\n"):
            self.pieces.append("\t")


def html_text(data: bytes) -> str:
    """The text of a page.

    Raises:
        UnreadableError: bytes that are no text in the page's own encoding.
    """
    page = _Page()
    page.feed(_decode(data))
    page.close()
    lines = "".join(page.pieces).split("\n")
    return tidy("\n".join(line.rstrip(" \t") for line in lines))


def _decode(data: bytes) -> str:
    found = _CHARSET.search(data[:HEAD])
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if found and encoding == "utf-8-sig" and not data.startswith(codecs.BOM_UTF8):
        encoding = found[1].decode()
    try:
        return data.decode(encoding)
    except (LookupError, UnicodeError) as error:
        raise UnreadableError(Why.MALFORMED) from error
