"""``mmspec index``: build, see to and drop the indexes that the corpus drafter quotes from.

build FOLDER INPUT... --model M   tokenise texts and add them to a folder's index
info PATH [--verify]              what a folder or a file holds; read all of it and check it
merge FOLDER                      make few segments of many; dropped texts leave the disk
drop FOLDER SEGMENT [--text N]    remove a segment, or some of its texts
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import Progress

from mmspec.core.config import ModelConfig
from mmspec.core.errors import CorpusError
from mmspec.retrieval import readings
from mmspec.retrieval.manifest import MANIFEST, Entry, read_manifest
from mmspec.retrieval.segment import PUBLIC, Identity, identity
from mmspec.retrieval.segment_build import MOST, Draft
from mmspec.retrieval.segment_file import SUFFIX, Header, read_header, verify
from mmspec.retrieval.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.model.processor import Processor

SEGMENT = 1 << 26  # tokens of a segment, unless said otherwise; sorting takes 16 bytes of each


def main(arguments: list[str]) -> int:
    """Run one command; returns the process's exit status.

    Raises:
        MmspecError: it cannot be done; the message says why.
    """
    parser = argparse.ArgumentParser(
        "mmspec index", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="tokenise texts and add them to a folder's index")
    build.add_argument("folder", type=Path)
    build.add_argument("inputs", type=Path, nargs="+", help="text files, .jsonl, folders of them")
    build.add_argument("--model", default="nano", help="whose tokenizer: nano, a folder, a hub id")
    build.add_argument("--segment-tokens", type=int, default=SEGMENT)
    info = commands.add_parser("info", help="what an index holds")
    info.add_argument("path", type=Path, help="a folder, or one segment's file")
    info.add_argument("--verify", action="store_true", help="read all of it and check it")
    merge = commands.add_parser("merge", help="make few segments of many")
    merge.add_argument("folder", type=Path)
    merge.add_argument("--segment-tokens", type=int, default=SEGMENT)
    drop = commands.add_parser("drop", help="remove a segment, or some of its texts")
    drop.add_argument("folder", type=Path)
    drop.add_argument("segment")
    drop.add_argument("--text", type=int, nargs="+", default=[], help="numbers, from 0")
    options = parser.parse_args(arguments)
    most = getattr(options, "segment_tokens", SEGMENT)
    if not 1 <= most <= MOST:
        parser.error(f"--segment-tokens must be between 1 and {MOST}")
    commanded = {"build": _build, "info": _info, "merge": _merge, "drop": _drop}
    commanded[options.command](options, Console(highlight=False))
    return 0


def _build(options: argparse.Namespace, console: Console) -> None:
    from mmspec.model.load import load_processor  # noqa: PLC0415  # loads torch

    processor = load_processor(ModelConfig(path=options.model))
    known = identity(processor.pieces, processor.vocabulary)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CorpusError(f"{options.folder}: {error.strerror}") from error
    shelf = Shelf(options.folder, known, PUBLIC)
    if shelf.faults:
        raise CorpusError("; ".join(shelf.faults.values()))
    files = readings.find(options.inputs)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("tokenising", total=sum(path.stat().st_size for path in files))
        builder = _Builder(
            shelf, options.segment_tokens, lambda doing: progress.update(task, description=doing)
        )
        with contextlib.closing(builder):
            behind = 0
            for path in files:
                if not readings.is_text(path):
                    progress.console.print(f"left out, not text: {path}", markup=False)
                else:
                    for text, done in readings.read(path):
                        builder.add(_ids(processor, text))
                        progress.update(task, completed=behind + done)
                behind += path.stat().st_size
                progress.update(task, completed=behind)
            builder.finish()
    _say(console, f"{builder.texts} texts, {builder.tokens} tokens added to {options.folder}")


def _ids(processor: Processor, text: str) -> np.ndarray:
    """A text's ids, without what a tokenizer puts around every text: int64 [K]."""
    ids = processor.text(text).ids
    spoken = np.flatnonzero(~np.isin(ids, list(processor.special_tokens)))
    return ids[spoken[0] : spoken[-1] + 1] if len(spoken) else ids[:0]


class _Builder:
    """Adds texts to a shelf, a segment at a time."""

    def __init__(self, shelf: Shelf, most: int, say: Callable[[str], None]) -> None:
        self._shelf, self._most, self._say = shelf, most, say
        self._draft: Draft | None = None
        self.texts = self.tokens = 0

    def add(self, ids: np.ndarray) -> None:
        """One text, in as many pieces as segments demand."""
        for first in range(0, len(ids), self._most):
            piece = ids[first : first + self._most]
            if self._draft and self._draft.tokens + len(piece) + 1 > self._most:
                self.finish()
            if self._draft is None:
                self._draft = Draft(self._shelf.folder, self._shelf.identity, PUBLIC)
            self._draft.add(piece)
            self.tokens += len(piece)
        self.texts += len(ids) > 0

    def finish(self) -> None:
        """Have what was added count."""
        if self._draft is not None:
            self._say("sorting")
            self._shelf.add(self._draft)
            self._draft = None
            self._say("tokenising")

    def close(self) -> None:
        """Leave nothing temporary behind."""
        if self._draft is not None:
            self._draft.drop()


def _info(options: argparse.Namespace, console: Console) -> None:
    path: Path = options.path
    read = verify if options.verify else read_header
    if path.is_file():
        _say(console, _line(path.name, read(path), None))
        return
    manifest = read_manifest(path)
    faults = []
    for entry in manifest.segments:
        try:
            _say(console, _line(entry.name, read(path / entry.name), entry))
        except CorpusError as error:
            faults.append(str(error))
    tokens = sum(entry.tokens for entry in manifest.segments)
    count = len(manifest.segments)
    _say(console, f"generation {manifest.generation}: {count} segments, {tokens} tokens")
    if faults:
        raise CorpusError("; ".join(faults))


def _say(console: Console, text: str) -> None:
    """A line for people and scripts: as it is, however wide."""
    console.print(text, markup=False, soft_wrap=True)


def _line(name: str, header: Header, entry: Entry | None) -> str:
    dead = f", {len(entry.dead)} dropped" if entry is not None and entry.dead else ""
    whose = f"private to {header.owner}" if header.owner else "public"
    return (
        f"{name}: {header.texts} texts{dead}, {header.tokens} tokens, {header.bytes} bytes, "
        f"vocabulary {header.vocabulary}, tokenizer {header.tokenizer[:12]}, {whose}"
    )


def _open(folder: Path) -> Shelf:
    """The shelf in a folder, by what its first readable segment says of itself."""
    entries = read_manifest(folder).segments
    if not entries:
        raise CorpusError(f"{folder} holds no index ({MANIFEST} names no {SUFFIX} file)")
    for entry in entries:
        try:
            header = read_header(folder / entry.name)
        except CorpusError:
            continue
        return Shelf(folder, header.identity, header.owner)
    return Shelf(folder, Identity(0, ""), PUBLIC)  # nothing can be mounted, but dropped


def _merge(options: argparse.Namespace, console: Console) -> None:
    shelf = _open(options.folder)
    before = len(read_manifest(options.folder).segments)
    with console.status("merging"):
        merged = shelf.merge(options.segment_tokens, everything=True)
        swept = shelf.sweep()  # what was dropped leaves the disk, however large its segment
    after = len(read_manifest(options.folder).segments)
    if merged or not swept:
        _say(console, f"{before} segments became {after}" if merged else "nothing to merge")
    if swept:
        _say(console, f"{swept} segments written anew without their dropped texts")


def _drop(options: argparse.Namespace, console: Console) -> None:
    shelf = _open(options.folder)
    if options.text:
        shelf.bury(options.segment, tuple(options.text))
        _say(console, f"{len(options.text)} texts of {options.segment} are no longer said")
    else:
        shelf.drop((options.segment,))
        _say(console, f"{options.segment} is gone")
