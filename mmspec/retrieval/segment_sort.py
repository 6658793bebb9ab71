"""Sorting the places of a segment in a process: ``python -m mmspec.retrieval.segment_sort FILE``.

It takes the memory it needs with it when it goes, and an end by the system's memory killer is an
error message and no more. The file holds a header without digests, tokens, texts and marks; what
is missing is added here.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import numpy as np
from pydivsufsort import divsufsort

from mmspec.core.errors import CorpusError
from mmspec.retrieval.segment_file import Header, pack_header, read_header, with_digests

STEP = 1 << 22  # places converted at a time


def suffix_array(tokens: np.ndarray, size: int) -> np.ndarray:
    """Places of unsigned ids [N] by the text from there to the end: int32 [N].

    divsufsort (Mori 2008) sorts bytes. The ids that occur are counted through, so that they fit in
    one, two or three bytes, highest first; of the sorted bytes, the first ones of ids are kept.
    """
    present = np.zeros(size + 1, np.bool_)
    present[tokens] = True
    ranks = np.cumsum(present, dtype=np.int64) - 1
    most = int(ranks[-1])
    width = 1 if most < 1 << 8 else 2 if most < 1 << 16 else 3
    spelt = ranks.astype(f">u{(1, 2, 4)[width - 1]}")[tokens].view(np.uint8)
    if width == 3:
        spelt = np.ascontiguousarray(spelt.reshape(-1, 4)[:, 1:]).reshape(-1)
    order = divsufsort(spelt)
    if width == 1:
        return order
    kept = np.empty(len(tokens), np.int32)
    filled = 0
    for first in range(0, len(order), STEP):
        part = order[first : first + STEP]
        part = part[part % width == 0]
        kept[filled : filled + len(part)] = part // width
        filled += len(part)
    return kept


def bucket_starts(tokens: np.ndarray, size: int) -> np.ndarray:
    """Where among the sorted places each first token begins: int32 [size + 2]."""
    counts = np.bincount(tokens, minlength=size + 1)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def complete(path: Path) -> None:
    """Add what a file lacks, and have all of it on the disk."""
    header = read_header(path)
    with path.open("r+b") as file:
        _sort(file.fileno(), header)
        header = with_digests(file, header)
        file.seek(0)
        file.write(pack_header(header))
        file.flush()
        os.fsync(file.fileno())


def _sort(file: int, header: Header) -> None:
    section = header.sections["tokens"]
    with mmap.mmap(file, section.offset + section.bytes, access=mmap.ACCESS_READ) as mapped:
        tokens = np.frombuffer(mapped, header.identity.dtype, header.tokens, section.offset)
        try:
            order = suffix_array(tokens, header.vocabulary)
            buckets = bucket_starts(tokens, header.vocabulary)
        finally:
            del tokens  # a mapping that is looked at cannot be closed
    for name, made in (("order", order), ("buckets", buckets)):
        if header.sections[name].bytes:
            _write(file, made, header.sections[name].offset)


def _write(file: int, made: np.ndarray, offset: int) -> None:
    view = made.data.cast("B")
    while view:
        wrote = os.pwrite(file, view[: 1 << 26], offset)
        offset, view = offset + wrote, view[wrote:]


def main() -> int:
    """Complete the named file; says on the last line why it could not."""
    try:
        complete(Path(sys.argv[1]))
    except (CorpusError, OSError, MemoryError) as error:
        sys.stderr.write(f"{getattr(error, 'strerror', None) or error or 'out of memory'}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
