"""A segment: texts that never change, with every place in them sorted by what follows it.

A suffix array (Manber and Myers 1990) over token ids. The file is mapped, not read, so a corpus of
many gigabytes costs what of it is looked at.

Texts stand one after another, each followed by SEP, an id beyond the vocabulary that no context
holds: no match crosses it and it is never proposed. So do placeholders of pictures, at which a text
is cut.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Facts

PUBLIC = ""  # owner of a segment that everybody may read
NOBODY_DEAD = np.zeros(0, np.uint8)
NOBODY_DEAD.flags.writeable = False


class Identity(msgspec.Struct, frozen=True):
    """What token ids mean: two tokenizers with the same pieces read each other's segments.

    Attributes:
        size: ids that mean something; SEP is the next.
        digest: SHA-256 over the bytes of every id, each with its length, in order. Added tokens
            are among them.
    """

    size: int
    digest: str

    @property
    def dtype(self) -> np.dtype:
        """How ids are stored: 2 bytes where they fit, else 4."""
        return np.dtype("<u2" if self.size < 1 << 16 else "<i4")


def identity(pieces: ListOf[bytes], vocabulary: int) -> Identity:
    """Of a tokenizer by its pieces; where none is known, of any with so large a vocabulary."""
    running = hashlib.sha256()
    for piece in pieces:
        running.update(len(piece).to_bytes(4, "little") + piece)
    return Identity(len(pieces) or vocabulary, running.hexdigest())


def identity_of(facts: Facts) -> Identity:
    """Of the tokenizer a drafter's target reads with."""
    return identity(facts.pieces, facts.vocabulary)


def owner_of(tenant: str) -> str:
    """How a tenant is called in file names and headers: a digest, for a key may be anything."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:32]


@dataclass(slots=True, weakref_slot=True, eq=False, repr=False)
class Segment:
    """Sorted texts, mapped or in memory. Axes: N places, D texts.

    Attributes:
        name: of its file; "" in memory.
        tokens: [N], ids and SEPs, unsigned 16 or signed 32 bits.
        order: int32 [N], places by what follows them.
        starts: int64 [D + 1], where each text begins; the last is N.
        buckets: int32 [size + 2], where in ``order`` each first token begins; or empty.
        dead: uint8 [D], 1 for texts that are no longer said; empty where all are.
        used: int64 [2], how often it was quoted, and when last (seconds).
        handle: the open file, -1 in memory; closed when nobody holds the segment any more.
        bytes: of the file.
    """

    name: str
    tokens: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    buckets: np.ndarray
    dead: np.ndarray = field(default_factory=lambda: NOBODY_DEAD)
    used: np.ndarray = field(default_factory=lambda: np.zeros(2, np.int64))
    handle: int = -1
    bytes: int = 0

    def __post_init__(self) -> None:
        if self.handle >= 0:
            weakref.finalize(self, os.close, self.handle)

    def __len__(self) -> int:
        return len(self.tokens)

    def fault(self) -> str | None:
        """Why it may no longer be looked at; None: it may.

        A mapped file that was cut short would end the process when it is touched. Removing a file
        harms nothing, but says that nobody wants it said any more.
        """
        if self.handle < 0:
            return None
        now = os.fstat(self.handle)
        if now.st_size != self.bytes:
            return f"{self.name} was changed while mounted"
        return f"{self.name} was removed" if now.st_nlink == 0 else None
