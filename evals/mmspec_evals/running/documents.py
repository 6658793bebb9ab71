"""Documents on disk: what was asked and how to mark it, so that marking needs no model and no data.

``OUT/docs/<task>.jsonl`` holds one document a line. Long texts, which several questions may share,
are in ``OUT/docs/texts/<sha256>.txt``, each once. Pictures are not copied, only their digests.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from mmspec_evals.doc import Doc, Picture, Text
from mmspec_evals.errors import DataError
from mmspec_evals.running.layout import Layout, lines
from mmspec_evals.running.plan import DocRef, digest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mmspec_evals.doc import Part

LONG = 4096  # characters from which a text gets a file of its own


class StoredPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A text (itself, or the digest of a long one), or a picture (its name and its digest)."""

    text: str | None = None
    text_sha: str | None = None
    trim: bool = False
    picture: str | None = None
    sha: str | None = None


class StoredDoc(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a documents file."""

    id: str
    sha: str
    cluster: str
    turns: list[list[StoredPart]]
    target: Any
    system: str | None
    fields: dict[str, Any]

    @property
    def ref(self) -> DocRef:
        """What the plan says of it."""
        return DocRef(id=self.id, sha=self.sha, cluster=self.cluster)


def stored(doc: Doc) -> StoredDoc:
    """A document as it is kept; reads its pictures to name them by digest.

    Raises:
        DataError: a picture cannot be read.
    """
    bare = StoredDoc(
        id=doc.id,
        sha="",
        cluster=doc.cluster,
        turns=[[_kept(part) for part in turn] for turn in doc.turns],
        target=msgspec.to_builtins(doc.target),
        system=doc.system,
        fields=msgspec.to_builtins(dict(doc.fields), str_keys=True),
    )
    return msgspec.structs.replace(bare, sha=digest(bare))


def write_docs(root: Path, task: str, docs: Iterable[tuple[Doc, StoredDoc]]) -> None:
    """Keep the documents of a task."""
    layout = Layout(root)
    path, texts = layout.docs(task), layout.texts()
    texts.mkdir(parents=True, exist_ok=True)
    rows = []
    for doc, row in docs:
        rows.append(msgspec.json.encode(row))
        for turn in doc.turns:
            for part in turn:
                if isinstance(part, Text) and len(part.text) > LONG:
                    _keep_text(texts, part.text)
    path.write_bytes(b"".join(row + b"\n" for row in rows))


def read_docs(root: Path, task: str) -> dict[str, Doc]:
    """Documents of a task by id, in the order planned; a picture of theirs cannot be read again.

    Raises:
        DataError: they were not kept, or were damaged.
    """
    layout = Layout(root)
    path = layout.docs(task)
    if not path.is_file():
        raise DataError(f"the documents of {task} are missing: {path}")
    texts: dict[str, str] = {}
    docs: dict[str, Doc] = {}
    try:
        for line in lines(path.read_bytes()):
            row = msgspec.json.decode(line, type=StoredDoc)
            docs[row.id] = _restored(row, layout.texts(), texts)
    except (msgspec.DecodeError, OSError) as error:
        raise DataError(f"{path}: {error}") from error
    return docs


def _kept(part: Part) -> StoredPart:
    if isinstance(part, Picture):
        try:
            data = part.read()
        except OSError as error:
            raise DataError(f"picture {part.name}: {error}") from error
        return StoredPart(picture=part.name, sha=hashlib.sha256(data).hexdigest())
    if len(part.text) > LONG:
        return StoredPart(text_sha=_text_sha(part.text), trim=part.trim)
    return StoredPart(text=part.text, trim=part.trim)


def _restored(row: StoredDoc, folder: Path, texts: dict[str, str]) -> Doc:
    turns = tuple(tuple(_part(part, folder, texts) for part in turn) for turn in row.turns)
    return Doc(row.id, turns, row.target, row.cluster, row.system, row.fields)


def _part(part: StoredPart, folder: Path, texts: dict[str, str]) -> Part:
    if part.picture is not None:
        return Picture(part.picture, partial(_refuse, part.picture))
    if part.text_sha is not None and part.text_sha not in texts:
        # Bytes, not text: reading as text would turn a carriage return into a newline.
        data = (folder / f"{part.text_sha}.txt").read_bytes()
        texts[part.text_sha] = data.decode("utf-8", "surrogatepass")
    text = part.text if part.text_sha is None else texts[part.text_sha]
    return Text(text or "", part.trim)


def _refuse(name: str) -> bytes:
    raise DataError(f"picture {name} was not kept with the run")


def _keep_text(folder: Path, text: str) -> None:
    path = folder / f"{_text_sha(text)}.txt"
    if not path.is_file():
        path.write_bytes(text.encode("utf-8", "surrogatepass"))


def _text_sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
