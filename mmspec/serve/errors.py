"""Failures in OpenAI's shape: status, body and the headers clients' retry logic reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec

from mmspec.core.errors import BadRequestError, EngineFaultError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import Mapping


Noun = Literal["file", "document"]  # what clients keep here


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What the ``openai`` client reads into ``error.message``, ``.type``, ``.param``, ``.code``."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is not a success."""

    error: ErrorDetail

    def encode(self) -> bytes:
        """The body as JSON."""
        return msgspec.json.encode(self)


class HttpError(Exception):
    """A refusal that already knows its status.

    Attributes:
        status: HTTP status code.
        body: what to tell the client.
        headers: additional response headers, lower case.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        usual = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        kind = kind or usual
        self.body = ErrorBody(error=ErrorDetail(message=message, type=kind, param=param, code=code))


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable",
}
# The texts a client may repeat in a message of ours are cut to this many characters.
MAX_ECHO = 200


def unknown_model(name: str) -> HttpError:
    """404: no such model here."""
    return HttpError(404, f"no model {name[:MAX_ECHO]!r} here", "model_not_found", "model")


def no_file(id: str, param: str, noun: Noun = "file") -> HttpError:
    """404 in OpenAI's words: no such file, or none that the caller may know of."""
    message = f"No such {noun.capitalize()} object: {id[:MAX_ECHO]}"
    return HttpError(404, message, param=param, kind="invalid_request_error")


def too_large(limit: int) -> HttpError:
    """413: the body is longer than we read."""
    return HttpError(413, f"a request body may have up to {limit} bytes", "request_too_large")


def unauthorized() -> HttpError:
    """401: no key or a wrong one."""
    headers = {"www-authenticate": "Bearer"}
    return HttpError(401, "missing or wrong API key", "invalid_api_key", headers=headers)


def overloaded(message: str, retry_after: float) -> HttpError:
    """503 with the seconds to wait, which clients honour."""
    headers = {"retry-after": str(max(1, math.ceil(retry_after)))}
    return HttpError(503, message, "overloaded", headers=headers)


def fault(message: str) -> HttpError:
    """500: ours. Clients are told not to hammer: the same request would fail the same way."""
    return HttpError(500, message, "engine_fault", headers={"x-should-retry": "false"})


def from_exception(error: Exception) -> HttpError:
    """Any exception as what the client may know of it; only our own messages are repeated."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, BadRequestError):
        return HttpError(400, str(error), error.code, error.param)
    if isinstance(error, OverloadedError):
        return overloaded(str(error), error.retry_after)
    if isinstance(error, EngineFaultError):
        return fault(str(error))
    return HttpError(500, "internal error", "internal_error", headers={"x-should-retry": "false"})
