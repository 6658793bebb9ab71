"""Bytes to text, within bounds: plain text here, everything else in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmspec.core.errors import BadRequestError
from mmspec.serve.document_text import HEAD, Kind, UnreadableError, Why, kind_of, plain
from mmspec.serve.errors import HttpError

if TYPE_CHECKING:
    from typing import BinaryIO

    from mmspec.core.config import DocumentsConfig

_PROGRAM = "mmspec.serve.document_process"
# Where Python finds itself and us; nothing else of our surroundings is a parser's business.
_SURROUNDINGS = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG")
_MESSAGES = {
    Why.MALFORMED: "this is neither UTF-8 text nor a readable PDF or HTML document",
    Why.ENCRYPTED: "the document needs a password",
    Why.EMPTY: "there is no text in the document; pictures of text are not read",
    Why.COSTLY: "the document takes more time or memory to read than this server gives to one",
}
_CODES = {Why.MALFORMED: "invalid", Why.ENCRYPTED: "encrypted", Why.EMPTY: "empty"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a document says: ``text`` as offsets count it, and what it was read from."""

    kind: Kind
    text: str


class DocumentReader:
    """Blocking; any thread may ask.

    Args:
        config: bounds.
    """

    def __init__(self, config: DocumentsConfig) -> None:
        self._config = config

    def read(self, source: BinaryIO, filename: str, param: str) -> Reading:
        """Read a document.

        Args:
            source: an open file of the system's, at its beginning.
            filename: as the client calls it.
            param: the field that is at fault if it cannot be read.

        Raises:
            BadRequestError: there is no text to be had.
            HttpError: 413, there is too much of it.
        """
        size = os.fstat(source.fileno()).st_size
        if size > self._config.max_file_bytes:
            raise too_long(f"a document may have up to {self._config.max_file_bytes} bytes", param)
        kind = kind_of(os.pread(source.fileno(), HEAD, 0), filename)
        try:
            text = (
                self._plain(source, size)
                if kind in ("text", "markdown")
                else self._run(kind, source)
            )
            if len(text.encode()) > self._config.max_text_bytes:
                raise UnreadableError(Why.LONG)
            if not text.strip():
                raise UnreadableError(Why.EMPTY)
        except UnreadableError as error:
            raise self._refusal(error.why, param) from error
        return Reading(kind, text)

    def _plain(self, source: BinaryIO, size: int) -> str:
        if size > 2 * self._config.max_text_bytes:  # UTF-16 takes up to twice the bytes of UTF-8
            raise UnreadableError(Why.LONG)
        return plain(source.read())

    def _run(self, kind: Kind, source: BinaryIO) -> str:
        """Have a process read it; whatever becomes of that, it is over in time."""
        config = self._config
        most = config.max_text_bytes
        bounds = (int(config.read_seconds) + 1, config.read_bytes, config.pages, most)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _PROGRAM, kind, *map(str, bounds)],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _SURROUNDINGS if name in os.environ},
            cwd="/",
            start_new_session=True,  # an interrupt at our terminal is for us to handle
        )
        assert process.stdout is not None
        clock = threading.Timer(config.read_seconds, process.kill)
        clock.start()
        try:
            told = process.stdout.read(most + 1)
            if len(told) > most:
                raise UnreadableError(Why.LONG)
            status = process.wait()
        finally:
            clock.cancel()
            process.kill()
            process.stdout.close()
            process.wait()
        if status != 0:
            raise UnreadableError(_why(status))
        return told.decode()

    def _refusal(self, why: Why, param: str) -> Exception:
        if why is Why.PAGES:
            return too_long(f"a document may have up to {self._config.pages} pages", param)
        if why is Why.LONG:
            most = self._config.max_text_bytes
            return too_long(f"the text of a document may have up to {most} bytes", param)
        return BadRequestError(_MESSAGES[why], param, f"{_CODES.get(why, 'costly')}_document")


def too_long(message: str, param: str) -> HttpError:
    """413: more of a document than may be."""
    return HttpError(413, message, "document_too_large", param)


def _why(status: int) -> Why:
    """What an exit status says: one of ours, a signal (time or memory), or a crash on start."""
    if status < 0:
        return Why.COSTLY
    with contextlib.suppress(ValueError):
        return Why(status)
    raise RuntimeError(f"the process that reads documents failed with status {status}")
