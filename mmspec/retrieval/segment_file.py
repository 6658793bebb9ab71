"""The file of a segment, ``.mmsa``: a header of 4 KiB, then sections, each on a page of its own.

Header: 8 bytes of magic, the length of a JSON object (4 bytes, little-endian), the object (see
``Header``), zeros, and in its last 32 bytes the BLAKE2b of all before. Sections:

=======  ========================  ======================================================
tokens   u16 or i32 [N]            ids; SEP = ``vocabulary`` after every text
texts    i64 [D + 1]               where each text begins; the last is N
marks    (i64, 16 bytes) [D]       when each was taken in (seconds), digest of its ids
buckets  i32 [vocabulary + 2]      where in ``order`` each first token begins; may be empty
order    i32 [N]                   the suffix array
=======  ========================  ======================================================

Mounting reads the header and checks it, ``texts`` and ``marks``; ``verify`` reads everything.
"""

from __future__ import annotations

import os
import sys
from hashlib import blake2b
from typing import TYPE_CHECKING, BinaryIO

import msgspec
import numpy as np

from mmspec.core.errors import CorpusError
from mmspec.retrieval.segment import Identity, Segment

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"\x89MMSA\r\n\x1a"
VERSION = 1
PAGE = 4096
SUFFIX = ".mmsa"
MARK = np.dtype([("taken", "<i8"), ("digest", "V16")])
SECTIONS = ("tokens", "texts", "marks", "buckets", "order")
STEP = 1 << 22  # bytes read at a time


class Section(msgspec.Struct, frozen=True):
    """Where a section lies, how many bytes it has, and their BLAKE2b."""

    offset: int
    bytes: int
    digest: str = ""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself.

    Attributes:
        version: of this format. endian: of everything binary. width: bytes of a token.
        tokens: N. texts: D. vocabulary: ids that mean something. tokenizer: ``Identity.digest``.
        owner: digest of the one tenant who may read it; "": public.
        created: seconds since 1970.
        sections: by name.
    """

    version: int = VERSION
    endian: str = sys.byteorder
    width: int
    tokens: int
    texts: int
    vocabulary: int
    tokenizer: str
    owner: str
    created: int
    sections: dict[str, Section] = {}

    @property
    def identity(self) -> Identity:
        """The tokenizer its ids are of."""
        return Identity(self.vocabulary, self.tokenizer)

    @property
    def bytes(self) -> int:
        """Of the whole file."""
        return max(one.offset + one.bytes for one in self.sections.values())


def lay_out(header: Header, bucketed: bool) -> Header:
    """The header with every section in its place, digests still missing."""
    sizes = {
        "tokens": header.tokens * header.width,
        "texts": 8 * (header.texts + 1),
        "marks": MARK.itemsize * header.texts,
        "buckets": 4 * (header.vocabulary + 2) if bucketed else 0,
        "order": 4 * header.tokens,
    }
    sections, offset = {}, PAGE
    for name in SECTIONS:
        sections[name] = Section(offset, sizes[name])
        offset += -(-sizes[name] // PAGE) * PAGE
    return msgspec.structs.replace(header, sections=sections)


def pack_header(header: Header) -> bytes:
    """The header's 4 KiB."""
    said = msgspec.json.encode(header)
    body = (MAGIC + len(said).to_bytes(4, "little") + said).ljust(PAGE - 32, b"\0")
    return body + blake2b(body, digest_size=32).digest()


def read_header(path: Path) -> Header:
    """What the file at ``path`` says of itself, found to be whole.

    Raises:
        CorpusError: not a segment, of another version or machine, cut short or damaged.
    """
    try:
        with path.open("rb") as file:
            page, size = file.read(PAGE), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error
    if page[: len(MAGIC)] != MAGIC:
        raise CorpusError(f"{path} is not an index of mmspec")
    if len(page) < PAGE or blake2b(page[:-32], digest_size=32).digest() != page[-32:]:
        raise CorpusError(f"{path}: the header is damaged")
    count = int.from_bytes(page[8:12], "little")
    try:
        version = msgspec.json.decode(page[12 : 12 + count]).get("version")
        if version != VERSION:
            raise CorpusError(f"{path} has version {version} of the format, wanted is {VERSION}")
        header = msgspec.json.decode(page[12 : 12 + count], type=Header)
    except (msgspec.DecodeError, AttributeError) as error:
        raise CorpusError(f"{path}: the header makes no sense: {error}") from error
    if header.endian != sys.byteorder:
        raise CorpusError(f"{path} was built on a {header.endian}-endian machine")
    _check_sizes(path, header, size)
    return header


def _check_sizes(path: Path, header: Header, size: int) -> None:
    names = set(header.sections) == set(SECTIONS)
    if not names or header.width != header.identity.dtype.itemsize or header.tokens < 1:
        raise CorpusError(f"{path}: the header makes no sense")
    expected = lay_out(header, header.sections["buckets"].bytes > 0).sections
    for name, found in header.sections.items():
        if (found.offset, found.bytes) != (expected[name].offset, expected[name].bytes):
            raise CorpusError(f"{path}: the header makes no sense of {name}")
    if size != header.bytes:
        raise CorpusError(f"{path} has {size} bytes, its header says {header.bytes}: cut short?")


def check_identity(path: Path, header: Header, wanted: Identity, owner: str) -> None:
    """Refuse a segment whose ids mean something else, or that is somebody else's.

    Raises:
        CorpusError: saying which.
    """
    if header.vocabulary != wanted.size:
        raise CorpusError(
            f"{path} was built for a vocabulary of {header.vocabulary}, the model's tokenizer has "
            f"{wanted.size}: build it anew with this model"
        )
    if header.tokenizer != wanted.digest:
        raise CorpusError(f"{path} was built with another tokenizer: build it anew with this model")
    if header.owner != owner:
        whose = "is private to a tenant" if header.owner else "is public"
        raise CorpusError(f"{path} {whose} and cannot be mounted here")


def mount(path: Path, wanted: Identity, owner: str) -> Segment:
    """Map a segment.

    Raises:
        CorpusError: damaged, for another tokenizer or another owner; see ``read_header``.
    """
    header = read_header(path)
    check_identity(path, header, wanted, owner)
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error
    try:
        with open(handle, "rb", closefd=False) as file:
            return _mount(path, header, file)
    except (CorpusError, OSError) as error:
        os.close(handle)
        if isinstance(error, OSError):
            raise CorpusError(f"{path}: {error.strerror}") from error
        raise


def _mount(path: Path, header: Header, file: BinaryIO) -> Segment:
    parts = {name: _map(file, header, name) for name in ("tokens", "texts", "buckets", "order")}
    starts = parts["texts"]
    for name in ("texts", "marks"):
        if _digest(file, header.sections[name]) != header.sections[name].digest:
            raise CorpusError(f"{path}: the table of {name} is damaged")
    if starts[0] != 0 or starts[-1] != header.tokens or np.any(np.diff(starts) < 1):
        raise CorpusError(f"{path}: the table of texts makes no sense")
    return Segment(
        path.name, parts["tokens"], parts["order"], starts, parts["buckets"],
        used=np.array([0, header.created], np.int64), handle=file.fileno(), bytes=header.bytes,
    )  # fmt: skip


def _map(file: BinaryIO, header: Header, name: str) -> np.ndarray:
    """A read-only view of one section."""
    dtype = (
        header.identity.dtype if name == "tokens" else np.dtype("<i8" if name == "texts" else "<i4")
    )
    section = header.sections[name]
    if section.bytes == 0:
        empty = np.zeros(0, dtype)
        empty.flags.writeable = False
        return empty
    shape = (section.bytes // dtype.itemsize,)
    mapped = np.memmap(file, dtype, "r", section.offset, shape)
    return mapped.view(np.ndarray)


def read_marks(path: Path) -> np.ndarray:
    """When each text was taken in, and its digest: ``MARK`` [D].

    Raises:
        CorpusError: see ``read_header``.
    """
    section = read_header(path).sections["marks"]
    with path.open("rb") as file:
        file.seek(section.offset)
        return np.frombuffer(file.read(section.bytes), MARK)


def verify(path: Path) -> Header:
    """Read a whole file and compare every section with its digest.

    Raises:
        CorpusError: naming what is damaged.
    """
    header = read_header(path)
    with path.open("rb") as file:
        for name, section in header.sections.items():
            if _digest(file, section) != section.digest:
                raise CorpusError(f"{path}: {name} is damaged")
    return header


def _digest(file: BinaryIO, section: Section) -> str:
    """The BLAKE2b of what a section holds."""
    running, left = blake2b(digest_size=32), section.bytes
    file.seek(section.offset)
    while left > 0:
        piece = file.read(min(STEP, left))
        if not piece:
            break
        running.update(piece)
        left -= len(piece)
    return running.hexdigest()


def with_digests(file: BinaryIO, header: Header) -> Header:
    """The header with the digest of every section as it now lies in ``file``."""
    sections = {
        name: Section(one.offset, one.bytes, _digest(file, one))
        for name, one in header.sections.items()
    }
    return msgspec.structs.replace(header, sections=sections)
