"""What every kind of kept thing has alike: pages of it, looking it up, downloads, deletion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from litestar.response import Stream

from mmspec.core.errors import BadRequestError
from mmspec.serve.door import VISIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import BinaryIO

    from litestar import Request, Response

    from mmspec.serve.file_desk import FileDesk
    from mmspec.serve.file_index import FileRow
    from mmspec.serve.visit import Visit

_PIECE = 256 << 10  # bytes of a download in memory at a time
_MOST = 10_000
_LIMIT = re.compile(r"[0-9]{1,5}\Z")


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page; ``after=last_id`` asks for the next."""

    data: list[Any]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: str = "list"


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """It is gone."""

    id: str
    object: str
    deleted: bool = True


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of a list."""

    purpose: str | None
    after: str | None
    newest: bool
    limit: int


def visit_of(request: Request[Any, Any, Any]) -> Visit:
    """The visit a request belongs to."""
    return request.scope[VISIT]  # type: ignore[literal-required]


def asked(request: Request[Any, Any, Any]) -> tuple[str, str]:
    """Who asks, and for which id."""
    return visit_of(request).owner, str(request.path_params["id"])


async def page(
    desk: FileDesk, request: Request[Any, Any, Any], describe: Callable[[FileRow], Any]
) -> Page:
    """The page of the caller's own things that the query asks for.

    Raises:
        BadRequestError: a parameter is wrong. HttpError: 404, nothing to go on from.
    """
    wanted = read_query(dict(request.query_params))
    owner = visit_of(request).owner
    rows = await desk.run(
        lambda: desk.store.page(
            owner, purpose=wanted.purpose, after=wanted.after, newest=wanted.newest,
            limit=wanted.limit + 1,
        )
    )  # fmt: skip
    data = [describe(row) for row in rows[: wanted.limit]]
    return Page(
        data=data,
        has_more=len(rows) > wanted.limit,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
    )


async def download(
    desk: FileDesk, request: Request[Any, Any, Any], media_type: Callable[[bytes], str]
) -> Response[Any]:
    """The bytes of one, as an attachment.

    Args:
        desk: where it lies. request: names it.
        media_type: by the first bytes.

    Raises:
        HttpError: 404.
    """
    owner, id = asked(request)
    row, source = await desk.run(lambda: desk.store.open(owner, id))
    visit_of(request).release(lambda: desk.later(source.close))
    start = await desk.run(lambda: source.read(_PIECE))
    return Stream(
        _pieces(desk, source, start), media_type=media_type(start), headers=download_headers(row)
    )


def read_query(query: dict[str, str]) -> Wanted:
    """The parameters of a list.

    Raises:
        BadRequestError: naming the one that is wrong.
    """
    limit, order = query.get("limit", str(_MOST)), query.get("order", "desc")
    if not (_LIMIT.match(limit) and 1 <= int(limit) <= _MOST):
        raise BadRequestError(f"limit must be 1 to {_MOST}", "limit")
    if order not in ("asc", "desc"):
        raise BadRequestError("order must be asc or desc", "order")
    return Wanted(
        purpose=query.get("purpose"),
        after=query.get("after"),
        newest=order == "desc",
        limit=int(limit),
    )


def download_headers(row: FileRow) -> dict[str, str]:
    """Headers under which no browser runs, shows or keeps what a stranger may have uploaded."""
    name = quote(row.filename, safe="")  # RFC 8187: no character of the name is left to be read
    return {
        "content-length": str(row.bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{name}",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "cache-control": "private, no-store",
    }


async def _pieces(desk: FileDesk, source: BinaryIO, start: bytes) -> AsyncIterator[bytes]:
    piece = start
    while piece:
        yield piece
        piece = await desk.run(lambda: source.read(_PIECE))
