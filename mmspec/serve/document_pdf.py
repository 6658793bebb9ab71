"""The text of a PDF, page by page. Runs in a process of its own: see ``document_process``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pypdf import PdfReader
from pypdf.errors import DependencyError, LimitReachedError, WrongPasswordError

from mmspec.serve.document_text import UnreadableError, Why, tidy

if TYPE_CHECKING:
    from typing import BinaryIO


def pdf_text(source: BinaryIO, max_pages: int, max_characters: int) -> str:
    """The text of a PDF that needs no password.

    Args:
        source: can be sought in.
        max_pages: of the document.
        max_characters: that are worth collecting.

    Raises:
        UnreadableError: encrypted, too many pages, too long. Whatever else pypdf raises: malformed.
    """
    try:
        reader = PdfReader(source)
        if reader.is_encrypted and not _opens(reader):
            raise UnreadableError(Why.ENCRYPTED)
        if len(reader.pages) > max_pages:
            raise UnreadableError(Why.PAGES)
        pages: list[str] = []
        for page in reader.pages:
            pages.append(tidy(page.extract_text()))
            if sum(map(len, pages)) > max_characters:
                raise UnreadableError(Why.LONG)
    except LimitReachedError as error:  # pypdf's own, on what a stream may unpack to
        raise UnreadableError(Why.COSTLY) from error
    return "\n\n".join(page for page in pages if page)


def _opens(reader: PdfReader) -> bool:
    """Whether the empty password opens it, as it does where only printing is forbidden."""
    try:
        return bool(reader.decrypt(""))
    except (DependencyError, NotImplementedError, WrongPasswordError):
        return False
