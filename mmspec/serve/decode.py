"""Bytes to a typed body, or the 400 that says which field is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from mmspec.core.errors import BadRequestError
from mmspec.serve.errors import MAX_ECHO
from mmspec.serve.protocol import REFUSED, SILENT

A = TypeVar("A", bound=msgspec.Struct)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_PATH = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`\Z")
_FIELD = re.compile(r"(?:missing required|contains unknown) field `([^`]*)`\Z")
_MAX_IGNORED = 20


@dataclass(frozen=True, slots=True)
class Body(Generic[A]):
    """A decoded body and the names of the fields in it that had no effect."""

    ask: A
    ignored: tuple[str, ...]


class BodyDecoder(Generic[A]):
    """Strict decoding of one kind of body: ``"5"`` is not 5 and unknown fields are named."""

    def __init__(self, kind: type[A]) -> None:
        self._decoder = msgspec.json.Decoder(kind, strict=True)
        self._known = frozenset(kind.__struct_fields__) | SILENT | frozenset(REFUSED)

    def decode(self, data: bytes) -> Body[A]:
        """Read a body.

        Raises:
            BadRequestError: not JSON, a wrong type (``param`` is its path), or a field that we
                do not support.
        """
        try:
            fields = _FIELDS.decode(data)
            refuse(fields)
            ask = self._decoder.decode(data)
        except msgspec.ValidationError as error:
            message, path = explain(error)
            raise BadRequestError(message, path) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequestError("the request body is not valid JSON", code="invalid_json") from (
                error
            )
        unknown = sorted(set(fields) - self._known)
        # Only plain names may travel in a header.
        ignored = tuple(name for name in unknown if _PLAIN_NAME.match(name))
        return Body(ask, ignored[:_MAX_IGNORED])


def refuse(fields: dict[str, msgspec.Raw]) -> None:
    """Refuse unsupported fields that ask for something.

    Raises:
        BadRequestError: ``unsupported_parameter``.
    """
    for name in REFUSED.keys() & fields.keys():
        if msgspec.json.decode(fields[name]) not in REFUSED[name]:
            raise BadRequestError(f"{name} is not supported", name, "unsupported_parameter")


def explain(error: msgspec.ValidationError) -> tuple[str, str | None]:
    """The message and the dotted path (``messages.0.content``) of a validation error."""
    text, path = str(error), ""
    if found := _PATH.search(text):
        path = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", found[1])
        text = text[: found.start()]
    if found := _FIELD.search(text):  # the path stops at the object; name the field too
        path = f"{path}.{found[1]}"
    return text[:MAX_ECHO], path.strip(".")[:MAX_ECHO] or None
