"""``/v1/files``: upload, list, look up, download, delete, each within the caller's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response, delete, get, post

from mmspec.core.errors import BadRequestError
from mmspec.serve.generate import reply
from mmspec.serve.intake import at_the_disk
from mmspec.serve.kept import Deleted, asked, download, page, visit_of
from mmspec.vision import media

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from mmspec.serve.file_desk import FileDesk
    from mmspec.serve.file_index import FileRow
    from mmspec.serve.intake import Upload
    from mmspec.serve.service import Service

PATH = "/v1/files"


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


def file_routes(service: Service, desk: FileDesk) -> list[ControllerRouterHandler]:
    """The five routes."""
    store = desk.store

    @post(PATH, status_code=200)
    async def create(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        upload = visit.upload
        if upload is None:
            raise BadRequestError("an upload needs a body", "file")
        if upload.fields.purpose == "vision":
            await service.heavy(lambda: check_picture(upload, service.media))
        kept = await at_the_disk(desk, lambda: upload.keep(visit.owner))
        return reply(describe(kept))

    @get(PATH)
    async def several(request: Request[Any, Any, Any]) -> Response[Any]:
        return reply(await page(desk, request, describe))

    @get(PATH + "/{id:str}")
    async def one(request: Request[Any, Any, Any]) -> Response[Any]:
        owner, id = asked(request)
        return reply(describe(await desk.run(lambda: store.find(owner, id))))

    @get(PATH + "/{id:str}/content")
    async def content(request: Request[Any, Any, Any]) -> Response[Any]:
        return await download(desk, request, _media_type)

    @delete(PATH + "/{id:str}", status_code=200)
    async def remove(request: Request[Any, Any, Any]) -> Response[Any]:
        owner, id = asked(request)
        await desk.run(lambda: store.delete(owner, id))
        return reply(Deleted(id=id, object="file"))

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


def _media_type(start: bytes) -> str:
    return media.kind(start) or "application/octet-stream"
