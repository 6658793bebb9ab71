"""``/v1/documents``: keep the text of documents, look them up, ask about them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response, delete, get, post

from mmspec.core.errors import BadRequestError
from mmspec.serve.decode import BodyDecoder
from mmspec.serve.document_desk import Facts, facts_of
from mmspec.serve.errors import no_file
from mmspec.serve.form import ANCHOR, check_seconds
from mmspec.serve.generate import generate, reply
from mmspec.serve.kept import Deleted, asked, download, page, visit_of
from mmspec.serve.questions import question_route
from mmspec.vision.prompt import CHARACTERS_A_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litestar.types import ControllerRouterHandler

    from mmspec.serve.document_desk import DocumentDesk
    from mmspec.serve.document_reader import Reading
    from mmspec.serve.file_index import FileRow
    from mmspec.serve.service import Service
    from mmspec.serve.visit import Visit

PATH = "/v1/documents"
_COUNTED = 32 << 10  # characters tokenised at a time, so that others get their turn


class Expiry(msgspec.Struct, frozen=True, kw_only=True):
    """As the files route has it."""

    anchor: str
    seconds: int


class DocumentAsk(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/documents`` of an uploaded file."""

    file_id: str
    expires_after: Expiry | None = None


class DocumentObject(msgspec.Struct, frozen=True, kw_only=True):
    """A document: ``bytes`` and ``characters`` are of its text, ``tokens`` about what it takes.

    No ``tokens``: more than the model could read.
    """

    id: str
    bytes: int
    characters: int
    tokens: int | None
    created_at: int
    expires_at: int | None
    filename: str
    kind: str
    object: str = "document"
    status: str = "processed"


_ASK = BodyDecoder(DocumentAsk)


def document_routes(service: Service, desk: DocumentDesk) -> list[ControllerRouterHandler]:
    """The six routes."""
    files = desk.files

    @post(PATH, status_code=200)
    async def create(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        reading, filename, seconds = await _bring(service, desk, visit)
        tokens = await count_tokens(service, reading.text)
        facts = Facts(characters=len(reading.text), tokens=tokens)
        row = await desk.keep(visit.owner, reading, facts, filename, seconds)
        return reply(describe(row))

    @get(PATH)
    async def several(request: Request[Any, Any, Any]) -> Response[Any]:
        return reply(await page(files, request, describe))

    @get(PATH + "/{id:str}")
    async def one(request: Request[Any, Any, Any]) -> Response[Any]:
        owner, id = asked(request)
        return reply(describe(await files.run(lambda: files.store.find(owner, id))))

    @get(PATH + "/{id:str}/content")
    async def content(request: Request[Any, Any, Any]) -> Response[Any]:
        return await download(files, request, lambda _: "text/plain")

    @delete(PATH + "/{id:str}", status_code=200)
    async def remove(request: Request[Any, Any, Any]) -> Response[Any]:
        owner, id = asked(request)
        await files.run(lambda: files.store.delete(owner, id))
        return reply(Deleted(id=id, object="document"))

    @post(PATH + "/{id:str}/questions", status_code=200)
    async def question(request: Request[Any, Any, Any]) -> Response[Any]:
        owner, id = asked(request)
        text = await desk.text(owner, id)
        return await generate(service, request, question_route(text))

    return [create, several, one, content, remove, question]


def describe(row: FileRow) -> DocumentObject:
    """What its owner may know of a document."""
    facts = facts_of(row)
    return DocumentObject(
        id=row.id,
        bytes=row.bytes,
        characters=facts.characters,
        tokens=facts.tokens,
        created_at=row.created_at,
        expires_at=row.expires_at,
        filename=row.filename,
        kind=row.purpose,
    )


async def count_tokens(service: Service, text: str) -> int | None:
    """About how many tokens a text has, a piece at a time; None: more than the model could read."""
    if len(text) > CHARACTERS_A_TOKEN * service.max_context:
        return None
    count = 0
    for piece in pieces(text, _COUNTED):
        count += len(await service.heavy(partial(service.processor.encode, piece, False)))
    return count


def pieces(text: str, size: int) -> Iterator[str]:
    """A text in order, cut after line ends where there are some, else wherever a piece is full."""
    start = 0
    while start < len(text):
        stop = start + size
        if stop < len(text):
            stop = text.rfind("\n", start, stop) + 1 or stop
        yield text[start:stop]
        start = stop


async def _bring(
    service: Service, desk: DocumentDesk, visit: Visit
) -> tuple[Reading, str, int | None]:
    """What a new document says, its name, and how long to keep it.

    Raises:
        BadRequestError, HttpError: there is no document to be had.
    """
    if (upload := visit.upload) is not None:
        name = upload.fields.filename
        reading = await desk.read(lambda: upload.draft.path.open("rb"), name)
        return reading, name, upload.fields.seconds
    ask = await service.heavy(lambda: _ASK.decode(visit.take_body()).ask)
    if service.files is None:
        raise no_file(ask.file_id, "file_id")
    seconds = None
    if ask.expires_after is not None:
        if ask.expires_after.anchor != ANCHOR:
            raise BadRequestError(f"the anchor is {ANCHOR}", "expires_after.anchor")
        seconds = ask.expires_after.seconds
        check_seconds(seconds, "expires_after.seconds")
    store = service.files.store
    row, source = await service.files.run(lambda: store.open(visit.owner, ask.file_id, "file_id"))
    reading = await desk.read(lambda: source, row.filename, "file_id")
    return reading, row.filename, seconds
