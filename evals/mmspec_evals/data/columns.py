"""Parquet and Arrow files as rows; the packages that read them are loaded when first needed."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of one ``.parquet`` or ``.arrow`` file (stream or file format), values as Python's own.

    A picture column of a Hugging Face data set comes as ``{"bytes": ..., "path": ...}``.

    Raises:
        DataError: pyarrow is not installed, or the file is damaged.
    """
    arrow = _pyarrow("pyarrow")
    try:
        if path.suffix == ".parquet":
            return _pyarrow("pyarrow.parquet").ParquetFile(path).read().to_pylist()
        return _table(path).to_pylist()
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def saved_files(folder: Path) -> list[Path] | None:
    """Data files of a folder that ``save_to_disk`` of Hugging Face's data sets made, in row order.

    None when it is no such folder.

    Raises:
        DataError: its rows stand in an order kept elsewhere.
    """
    state = folder / "state.json"
    if not state.is_file():
        return None
    try:
        content = json.loads(state.read_bytes())
        names = [entry["filename"] for entry in content["_data_files"]]
        reordered = bool(content.get("_indices_files"))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{state} does not list data files: {error!r}") from error
    if reordered:
        raise DataError(f"{folder}: call flatten_indices() before save_to_disk()")
    return [folder / name for name in names]


def _table(path: Path) -> Any:
    ipc = _pyarrow("pyarrow.ipc")
    with path.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        reader = ipc.open_file(file) if magic == b"ARROW1" else ipc.open_stream(file)
        return reader.read_all()


def _pyarrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            "parquet and arrow files need the package pyarrow: pip install 'mmspec[evals]'"
        ) from error
