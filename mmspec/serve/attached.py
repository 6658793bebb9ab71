"""Documents in a conversation: file parts that hold one, or name one, as text."""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from typing import TYPE_CHECKING, Any

from mmspec.core.errors import BadRequestError
from mmspec.serve.document_reader import too_long
from mmspec.serve.document_text import HEAD
from mmspec.vision import media
from mmspec.vision.prompt import attachments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

    from mmspec.serve.document_desk import DocumentDesk
    from mmspec.serve.service import Service

MARK = b'"file"'  # a body without it names no file
_DOCUMENT = "doc-"


def named_files(messages: Sequence[Any], service: Service) -> dict[str, Any]:
    """Dotted path -> file, as many as may be, of a conversation that is not checked yet."""
    if service.documents is None:
        return {}
    return attachments(messages, service.media.max_images + service.documents.config.per_request)


async def attached(service: Service, owner: str, files: Mapping[str, Any]) -> dict[str, str]:
    """The text of those that are documents, by the dotted path of the part.

    What is malformed is passed over: ``compose`` refuses it.

    Args:
        service: has files and documents.
        owner: whose conversation it is.
        files: as the parts have them.

    Raises:
        BadRequestError, HttpError: a document is not there, cannot be read, or is one too many.
    """
    texts: dict[str, str] = {}
    if service.documents is None:
        return texts
    most = service.documents.config.per_request
    for path, file in files.items():
        text = await _text(service, service.documents, owner, path, file)
        if text is None:
            continue
        if len(texts) == most:
            raise BadRequestError(f"a conversation may have up to {most} documents", path)
        texts[path] = text
    return texts


async def _text(
    service: Service, desk: DocumentDesk, owner: str, path: str, file: Any
) -> str | None:
    """The text of one; None: it is a picture, or nothing we know."""
    if not isinstance(file, dict):
        return None
    id, data, name = file.get("file_id"), file.get("file_data"), file.get("filename")
    if id is not None and data is not None:
        raise BadRequestError("a file has either file_data or a file_id", f"{path}.file_id")
    name = name if isinstance(name, str) else ""
    if isinstance(data, str):
        param = f"{path}.file_data"
        sent = await service.heavy(lambda: _decode(data, desk.config.max_file_bytes, param))
        if media.kind(sent[:HEAD]) is not None:
            return None
        return (await desk.read(lambda: _laid_down(sent), name, param)).text
    if not isinstance(id, str):
        return None
    param = f"{path}.file_id"
    if id.startswith(_DOCUMENT):
        return await desk.text(owner, id, param)
    if service.files is None:
        return None
    store = service.files.store
    row, opened = await service.files.run(lambda: store.open(owner, id, param))
    if media.kind(os.pread(opened.fileno(), HEAD, 0)) is not None:
        opened.close()
        return None
    return (await desk.read(lambda: opened, row.filename, param)).text


def _decode(data: str, most: int, param: str) -> bytes:
    """The bytes of a ``data:`` URI, or of base64 alone. Blocking."""
    payload = data.partition(",")[2] if data[:5].lower() == "data:" else data
    if len(payload) > (most + 2) // 3 * 4:
        raise too_long(f"a document may have up to {most} bytes", param)
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError("file_data is malformed base64", param, "invalid_document") from error


def _laid_down(data: bytes) -> BinaryIO:
    """A file of the system's with these bytes, for a process to read. Blocking."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads it closes it
    file.write(data)
    file.seek(0)  # which also hands on what was written
    return file
