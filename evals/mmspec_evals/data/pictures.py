"""Pictures of benchmark rows: bytes inside the row, or files below the data folder."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mmspec_evals.doc import Picture
from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def pictures(value: Any, root: Path, folders: Sequence[str], name: str) -> tuple[Picture, ...]:
    """The pictures of a row's image column, in order; none for an empty one.

    Args:
        value: bytes, ``{"bytes": ..., "path": ...}`` as Hugging Face data sets store pictures, a
            path, base64 text, or a list of these. root: where relative paths begin.
        folders: folders below ``root`` (themselves but for "") in which a path may begin as well.
        name: what a report calls a picture that has no path.

    Raises:
        DataError: a file is missing, or a path leaves the data folder.
    """
    if value is None or (isinstance(value, (str, bytes)) and not value):
        return ()
    if isinstance(value, list):
        found = [pictures(one, root, folders, f"{name}-{at}") for at, one in enumerate(value)]
        return tuple(picture for several in found for picture in several)
    if isinstance(value, Mapping):
        if value.get("bytes"):
            path = value.get("path") or name
            return (_held(bytes(value["bytes"]), str(path)),)
        return pictures(value.get("path"), root, folders, name)
    if isinstance(value, bytes):
        return (_held(value, name),)
    if not isinstance(value, str):
        raise DataError(f"{name}: a picture cannot be {type(value).__name__}")
    if len(value) > 1024:
        return (_held(_decoded(value, name), name),)
    return (Picture(value, _file(value, root, folders).read_bytes),)


def identity(value: Any) -> str | None:
    """What tells one picture of a data set from another: its path, or the digest of its bytes."""
    if isinstance(value, list):
        return "+".join(str(identity(one)) for one in value) or None
    if isinstance(value, Mapping):
        return value.get("path") or identity(value.get("bytes"))
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()[:16]
    if isinstance(value, str) and len(value) > 1024:
        return identity(value.encode())
    return value or None


def _held(data: bytes, name: str) -> Picture:
    return Picture(name, partial(bytes, data))


def _decoded(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except binascii.Error as error:
        raise DataError(f"{name}: the picture is no base64: {error}") from error


def _file(path: str, root: Path, folders: Sequence[str]) -> Path:
    """The file meant, which must be named as below the root (links in the folder are followed)."""
    base = os.path.abspath(root)  # noqa: PTH100 - by name alone: a linked folder stays below it
    for folder in ("", *folders):
        full = os.path.normpath(os.path.join(base, folder, path))  # noqa: PTH118 - as above
        if os.path.commonpath([base, full]) != base:
            raise DataError(f"picture path {path!r} leaves the data folder {root}")
        if os.path.isfile(full):  # noqa: PTH113
            return root / os.path.relpath(full, base)
    places = " or ".join(str(root / folder) for folder in ("", *folders))
    raise DataError(f"picture {path!r} is missing; put it into {places}")
