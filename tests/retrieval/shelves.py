"""Segments and folders of them for tests: small vocabularies, texts as lists of ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmspec.retrieval.segment import PUBLIC, Identity, Segment
from mmspec.retrieval.segment_build import Draft
from mmspec.retrieval.segment_sort import bucket_starts, suffix_array
from mmspec.retrieval.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

KNOWN = Identity(50, "a tokenizer of fifty ids")
WIDE = Identity(70_000, "ids that need four bytes")


def in_memory(
    texts: Iterable[list[int]], known: Identity = KNOWN, bucketed: bool = True
) -> Segment:
    """What a file of these texts would be mounted as."""
    joined = np.array([id for text in texts for id in (*text, known.size)], known.dtype)
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    order = suffix_array(joined, known.size)
    buckets = bucket_starts(joined, known.size) if bucketed else np.zeros(0, np.int32)
    for array in (joined, starts, order, buckets):
        array.flags.writeable = False
    return Segment("", joined, order, starts, buckets)


def draft(folder: Path, texts: Iterable[list[int]], known: Identity = KNOWN, owner: str = PUBLIC):
    """A segment about to be."""
    made = Draft(folder, known, owner)
    for text in texts:
        made.add(np.array(text, np.int64))
    return made


def shelf(folder: Path, *segments: list[list[int]], known: Identity = KNOWN) -> Shelf:
    """A folder of public segments, each of some texts."""
    made = Shelf(folder, known, PUBLIC)
    for texts in segments:
        made.add(draft(folder, texts, known))
    return made


def said(segments: Iterable[Segment]) -> list[list[int]]:
    """All texts that are still said."""
    from mmspec.retrieval.shelf import texts  # noqa: PLC0415

    return [ids.tolist() for one in segments for _, ids in texts(one)]


def occurrences(texts: Iterable[list[int]], words: list[int]) -> list[list[int]]:
    """What follows each occurrence of some words, to the end of its text."""
    size = len(words)
    return [
        text[place + size :]
        for text in texts
        for place in range(len(text) - size + 1)
        if text[place : place + size] == words
    ]
