"""The multipart body of an upload: fields checked as they pass, the file's bytes handed on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from mmspec.core.errors import BadRequestError
from mmspec.serve.errors import MAX_ECHO, HttpError

PURPOSES = ("vision", "user_data")
OVERHEAD = 64 << 10  # bytes of a body beside the file's own
ANCHOR = "created_at"  # the only time from which a file's own is counted
_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"
_FIELDS = frozenset({"purpose", _ANCHOR, _SECONDS})
_SHORTEST, _LONGEST = 3600, 2_592_000  # OpenAI's bounds, seconds
_MAX_PARTS = 8
_MAX_VALUE = 1024  # bytes of a field
_MAX_FILENAME = 255
_MAX_BOUNDARY = 200  # RFC 2046 allows 70
_DIGITS = re.compile(r"[0-9]{1,10}\Z")


@dataclass(frozen=True, slots=True)
class UploadFields:
    """What came beside the bytes. The filename is whatever the client says, and never a path.

    Attributes:
        filename: 1 to 255 characters. purpose: one of ``PURPOSES``.
        seconds: to keep the file; None: nothing was said.
    """

    filename: str
    purpose: str
    seconds: int | None = None


class UploadForm:
    """Reads one body, piece by piece; holds no more of it than a piece and the short fields.

    Args:
        content_type: the request's header.
        max_file: bytes the file may have. max_picture: if it is for vision.
        purpose: of whatever is uploaded here; None: the body says it.

    Raises:
        HttpError: 415, the body is no multipart form.
    """

    def __init__(
        self, content_type: str, max_file: int, max_picture: int, purpose: str | None = None
    ) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get("boundary", "")
        if kind != "multipart/form-data" or not 0 < len(boundary) <= _MAX_BOUNDARY:
            raise HttpError(415, "an upload is multipart/form-data with a boundary")
        try:
            self._parser = PushMultipartParser(boundary, max_segment_count=_MAX_PARTS)
        except (MultipartError, UnicodeError) as error:
            raise _malformed() from error
        self._purpose = purpose
        self._fields = _FIELDS if purpose is None else _FIELDS - {"purpose"}
        self._max_file = max_file
        self._max_picture = min(max_picture, max_file)
        self._name: str | None = None  # of the part that is being read
        self._value = bytearray()
        self._values: dict[str, str] = {}
        self._filename: str | None = None
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Read on; returns what belongs to the file.

        Raises:
            BadRequestError: malformed, or a field that is wrong.
            HttpError: 413, the file is too large.
        """
        found: list[bytes] = []
        try:
            for event in self._parser.parse(data) if data else ():
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._end()
                elif self._name == "file":
                    self._count(len(event))
                    found.append(bytes(event))
                elif self._name in self._fields:
                    self._value += event
                    if len(self._value) > _MAX_VALUE:
                        raise BadRequestError("this field is too long", self._name)
        except (MultipartError, UnicodeError) as error:
            raise _malformed() from error
        return found

    def finish(self) -> UploadFields:
        """The body has ended.

        Raises:
            BadRequestError: it ended too early, or something is missing.
        """
        try:
            self._parser.close()
        except MultipartError as error:
            raise _malformed() from error
        if self._filename is None:
            raise BadRequestError("an upload needs a file", "file")
        purpose = self._values.get("purpose", self._purpose)
        if purpose is None:
            raise BadRequestError("an upload needs a purpose", "purpose")
        seconds = self._values.get(_SECONDS)
        if (seconds is None) != (_ANCHOR not in self._values):
            raise BadRequestError("expires_after has an anchor and seconds", "expires_after")
        return UploadFields(self._filename, purpose, None if seconds is None else int(seconds))

    def _begin(self, part: MultipartSegment) -> None:
        name = part.name
        known = name == "file" or name in self._fields
        self._name = name if known else None  # others are passed over
        self._value.clear()
        if name in self._values or (name == "file" and self._filename is not None):
            raise BadRequestError("this field is there twice", name)
        if name != "file":
            return
        if not part.filename:
            raise BadRequestError("the file needs a filename", "file")
        if len(part.filename) > _MAX_FILENAME:
            raise BadRequestError(f"a filename may have {_MAX_FILENAME} characters", "file")
        self._filename = part.filename

    def _end(self) -> None:
        if self._name not in self._fields:
            return
        name, value = self._name, self._value.decode()
        if name == "purpose" and value not in PURPOSES:
            raise BadRequestError(
                f"purpose must be one of {', '.join(PURPOSES)}, not {value[:MAX_ECHO]!r}", name
            )
        if name == _ANCHOR and value != ANCHOR:
            raise BadRequestError(f"the anchor is {ANCHOR}", name)
        if name == _SECONDS:
            check_seconds(int(value) if _DIGITS.match(value) else -1, name)
        self._values[name] = value
        self._count(0)  # the purpose may follow the file

    def _count(self, more: int) -> None:
        self._size += more
        if self._size > self._max_file:
            raise file_too_large(self._max_file)
        if self._size > self._max_picture and self._values.get("purpose") == "vision":
            raise file_too_large(self._max_picture, "picture")


def check_seconds(seconds: int, param: str) -> None:
    """Refuse a time to keep something that is out of OpenAI's bounds.

    Raises:
        BadRequestError: naming the field.
    """
    if not _SHORTEST <= seconds <= _LONGEST:
        raise BadRequestError(f"seconds must be {_SHORTEST} to {_LONGEST}", param)


def file_too_large(limit: int, what: str = "file") -> HttpError:
    """413: longer than any file, or any picture, may be."""
    return HttpError(413, f"a {what} may have up to {limit} bytes", "request_too_large", "file")


def _malformed() -> BadRequestError:
    return BadRequestError("the body is not a well-formed multipart form", code="invalid_multipart")
