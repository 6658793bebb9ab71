"""Made rows as files in InfiniteBench's shape, with a note beside them that says so."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from mmspec_evals.errors import DataError
from mmspec_evals.tasks.infinitebench.generate import make_rows
from mmspec_evals.tasks.infinitebench.official import NOT_OFFICIAL, SIDECAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


def write(
    folder: Path,
    tasks: Sequence[str],
    tokens: Sequence[int],
    grid: tuple[int, int],
    seed: int,
    count: Callable[[str], int],
    told: dict[str, Any],
) -> Iterator[Path]:
    """Write ``TASK.jsonl`` for every task, then the note; yields each path when it is written.

    Args:
        grid: depths, and rows at each, for every length. told: what else the note says.

    Raises:
        DataError: the folder cannot be written or holds files that are not of our making, or a
            length is too short.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SIDECAR).is_file():
        raise DataError(f"{folder} holds other files; name a folder of its own")
    seals = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            rows = make_rows(task, tokens, grid, seed, count)
            data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
            path = folder / f"{task}.jsonl"
            path.write_bytes(data)
            seals[path.name] = hashlib.sha256(data).hexdigest()
            yield path
        note = {
            "note": NOT_OFFICIAL,
            "seed": seed,
            "tokens": list(tokens),
            "depths": grid[0],
            "per_depth": grid[1],
            **told,
            "sha256": seals,
        }
        (folder / SIDECAR).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}") from error
    yield folder / SIDECAR
