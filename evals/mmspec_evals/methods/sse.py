"""Server-sent events of an OpenAI-compatible completion, one JSON object at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class ServerError(RuntimeError):
    """The server failed, or said what cannot be understood."""


def lines(parts: Iterable[bytes]) -> Iterator[str]:
    """Lines of a body that comes in parts; only line feeds end them, for JSON may hold others."""
    held = b""
    for part in parts:
        *whole, held = (held + part).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").rstrip("\r")
    if held:
        yield held.decode("utf-8", "replace").rstrip("\r")


def chunks(body: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Objects of ``data:`` lines up to ``[DONE]``; comments and other fields are passed over.

    A server may leave ``[DONE]`` out; whether the answer was complete, its finish reason says.

    Raises:
        ServerError: an error object, or a line that is no JSON object.
    """
    for line in lines(body):
        name, _, value = line.partition(":")
        if name != "data":
            continue
        value = value.strip()
        if value == "[DONE]":
            return
        try:
            said = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ServerError(f"the stream is not JSON: {value[:200]}") from error
        if not isinstance(said, dict):
            raise ServerError(f"the stream holds no object: {value[:200]}")
        if said.get("error"):
            raise ServerError(complaint(said))
        yield said


def complaint(body: Any) -> str:
    """The message of an error body, in any of the shapes servers use."""
    said = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(said, dict):
        said = said.get("message") or said.get("detail") or said
    return said if isinstance(said, str) else str(said)
