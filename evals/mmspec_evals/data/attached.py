"""Pictures that a row of the user's own file names or holds."""

from __future__ import annotations

import base64
import binascii
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from mmspec_evals.doc import Picture
from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def picture(value: Any, folder: Path) -> Picture:
    """A picture from a path, a data URL, or an object with ``bytes``, ``url`` or ``path``.

    Args:
        folder: where paths start, and what they may not leave, by links either.

    Raises:
        DataError: it is not there, lies elsewhere, or is something else.
    """
    if isinstance(value, dict):
        if value.get("bytes"):
            return Picture(str(value.get("path") or "picture"), partial(bytes, value["bytes"]))
        value = value.get("url") or value.get("path")
    if not isinstance(value, str) or not value:
        raise DataError(f"a picture is a path, a data URL or bytes, not {str(value)[:60]!r}")
    if found := _DATA_URL.match(value):
        try:
            data = base64.b64decode(value[found.end() :], validate=True)
        except binascii.Error as error:
            raise DataError(f"the data URL of a picture is damaged: {error}") from error
        return Picture("data URL", partial(bytes, data))
    value = value.removeprefix("file://")
    if _REMOTE.match(value):
        raise DataError(f"pictures are read from files, not from {value[:60]}")
    return _file(value, folder)


def _file(name: str, folder: Path) -> Picture:
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise DataError(f"picture {name} lies outside {folder}")
    if not path.is_file():
        raise DataError(f"picture {name} is not in {folder}")
    return Picture(name, path.read_bytes)
