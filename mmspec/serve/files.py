"""``/v1/files``: upload, list, look up, download, delete, each within the caller's own files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.response import Stream

from mmspec.core.errors import BadRequestError
from mmspec.serve.door import VISIT
from mmspec.serve.intake import at_the_disk
from mmspec.vision import media

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import BinaryIO

    from litestar.types import ControllerRouterHandler

    from mmspec.serve.file_desk import FileDesk
    from mmspec.serve.file_index import FileRow
    from mmspec.serve.intake import Upload
    from mmspec.serve.service import Service
    from mmspec.serve.visit import Visit

PATH = "/v1/files"
JSON = "application/json"
_PIECE = 256 << 10  # bytes of a download in memory at a time
_MOST = 10_000
_LIMIT = re.compile(r"[0-9]{1,5}\Z")


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """A file as the ``openai`` client reads it."""

    id: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    object: str = "file"
    status: str = "processed"


class FileList(msgspec.Struct, frozen=True, kw_only=True):
    """One page; ``after=last_id`` asks for the next."""

    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: str = "list"


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """It is gone."""

    id: str
    object: str = "file"
    deleted: bool = True


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of a list."""

    purpose: str | None
    after: str | None
    newest: bool
    limit: int


def file_routes(service: Service, desk: FileDesk) -> list[ControllerRouterHandler]:
    """The five routes."""
    store = desk.store

    @post(PATH, status_code=200)
    async def create(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = _visit(request)
        upload = visit.upload
        if upload is None:
            raise BadRequestError("an upload needs a body", "file")
        if upload.fields.purpose == "vision":
            await service.heavy(lambda: check_picture(upload, service.media))
        kept = await at_the_disk(desk, lambda: upload.keep(visit.owner))
        return _reply(describe(kept))

    @get(PATH)
    async def several(request: Request[Any, Any, Any]) -> Response[Any]:
        wanted = read_query(dict(request.query_params))
        owner = _visit(request).owner
        rows = await desk.run(
            lambda: store.page(
                owner, purpose=wanted.purpose, after=wanted.after, newest=wanted.newest,
                limit=wanted.limit + 1,
            )
        )  # fmt: skip
        data = [describe(row) for row in rows[: wanted.limit]]
        page = FileList(
            data=data,
            has_more=len(rows) > wanted.limit,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
        )
        return _reply(page)

    @get(PATH + "/{file_id:str}")
    async def one(request: Request[Any, Any, Any]) -> Response[Any]:
        owner, id = _asked(request)
        return _reply(describe(await desk.run(lambda: store.find(owner, id))))

    @get(PATH + "/{file_id:str}/content")
    async def content(request: Request[Any, Any, Any]) -> Response[Any]:
        owner, id = _asked(request)
        row, source = await desk.run(lambda: store.open(owner, id))
        _visit(request).release(lambda: desk.later(source.close))
        start = await desk.run(lambda: source.read(_PIECE))
        return Stream(
            _download(desk, source, start),
            media_type=media.kind(start) or "application/octet-stream",
            headers=download_headers(row),
        )

    @delete(PATH + "/{file_id:str}", status_code=200)
    async def remove(request: Request[Any, Any, Any]) -> Response[Any]:
        owner, id = _asked(request)
        await desk.run(lambda: store.delete(owner, id))
        return _reply(FileDeleted(id=id))

    return [create, several, one, content, remove]


def check_picture(upload: Upload, limits: media.MediaLimits) -> None:
    """A picture must decode within bounds before it is kept. Blocking.

    Raises:
        BadRequestError: it does not.
    """
    with upload.draft.path.open("rb") as source:
        media.decode(source.read(limits.max_bytes + 1), limits, "file")


def describe(row: FileRow) -> FileObject:
    """What its owner may know of a file."""
    return FileObject(
        id=row.id,
        bytes=row.bytes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        filename=row.filename,
        purpose=row.purpose,
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


async def _download(desk: FileDesk, source: BinaryIO, start: bytes) -> AsyncIterator[bytes]:
    piece = start
    while piece:
        yield piece
        piece = await desk.run(lambda: source.read(_PIECE))


def _visit(request: Request[Any, Any, Any]) -> Visit:
    return request.scope[VISIT]  # type: ignore[literal-required]


def _asked(request: Request[Any, Any, Any]) -> tuple[str, str]:
    """Who asks, and for which file."""
    return _visit(request).owner, str(request.path_params["file_id"])


def _reply(value: object) -> Response[Any]:
    return Response(msgspec.json.encode(value), media_type=JSON)
