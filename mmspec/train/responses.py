"""Answers of the target on disk, and as training samples.

A folder holds ``manifest.json`` (what was asked of whom, and how), ``shard-00000.jsonl`` and so
on, and ``pictures/``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from PIL import Image

from mmspec.core.errors import ConfigError
from mmspec.train.guards import GuardError
from mmspec.train.packing import Sample
from mmspec.train.questions import Question
from mmspec.vision.prompt import compose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mmspec.core.request import Prompt
    from mmspec.model.processor import Processor


class Writing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the target answers.

    Attributes:
        seed: key of every sampled answer's noise.
        greedy: share of answers written at temperature 0; the rest at ``temperature``.
        shard: answers of one file, written together through the engine.
    """

    seed: int = 1
    greedy: float = 0.5
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    shard: int = 128


class Manifest(msgspec.Struct, frozen=True):
    """Where a folder of answers comes from."""

    model: str
    fingerprint: str
    questions: str
    count: int
    writing: Writing
    version: str


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer. ``prompt`` is a digest of the prompt's token ids, pictures' places included."""

    index: int
    kind: str
    prompt: str
    prompt_tokens: int
    response: list[int]
    finish: str
    temperature: float
    seed: int
    messages: tuple[dict[str, Any], ...] = ()
    text: str = ""
    pictures: tuple[str, ...] = ()


def ask(question: Question, processor: Processor, max_context: int | None = None) -> Prompt:
    """A question as the target's prompt; raises BadRequestError where it cannot be one."""
    if not question.messages:
        return processor.text(question.text)
    waiting = iter(question.images)
    messages = []
    for message in question.messages:
        content = message["content"]
        if not isinstance(content, str):
            content = [
                {"type": "image", "image": next(waiting)} if part["type"] == "image" else part
                for part in content
            ]
        messages.append({**message, "content": content})
    return compose(messages, processor, max_context=max_context)


def prompt_digest(prompt: Prompt) -> str:
    """Of the token ids and the pictures' identities."""
    digest = hashlib.sha256(prompt.ids.astype("<i8").tobytes())
    for media in prompt.media:
        digest.update(f"{media.start}:{media.length}:{media.digest}".encode())
    return digest.hexdigest()[:32]


class Responses:
    """The answers of a folder, read as training samples.

    Raises:
        ConfigError: there is no finished folder of answers.
    """

    def __init__(self, folder: Path, processor: Processor) -> None:
        self._folder, self._processor = folder, processor
        try:
            self.manifest = msgspec.json.decode(
                (folder / "manifest.json").read_bytes(), type=Manifest
            )
        except OSError as error:
            raise ConfigError(f"no answers in {folder}: {error}") from error
        self.records = list(_read(folder))
        if not self.records:
            raise ConfigError(f"no answers in {folder}")

    def __len__(self) -> int:
        return len(self.records)

    def lengths(self) -> list[int]:
        """Tokens of every sample, prompt and response."""
        return [record.prompt_tokens + len(record.response) for record in self.records]

    def sample(self, number: int) -> Sample:
        """One sample, its prompt made anew.

        Raises:
            GuardError: the prompt is not the one that was answered.
        """
        record = self.records[number]
        images = tuple(
            Image.open(self._folder / "pictures" / name).convert("RGB") for name in record.pictures
        )
        question = Question(record.kind, record.messages, record.text, images)
        prompt = ask(question, self._processor)
        if prompt_digest(prompt) != record.prompt:
            raise GuardError(
                f"answer {record.index} was given to another prompt: tokenizer, template or "
                "picture settings have changed since it was written"
            )
        response = np.array(record.response, np.int64)
        return Sample(prompt, response, record.temperature == 0, record.kind)


def _read(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.glob("shard-*.jsonl")):
        for line in path.read_bytes().splitlines():
            yield msgspec.json.decode(line, type=Record)


def shard_path(folder: Path, number: int) -> Path:
    """The file of one shard."""
    return folder / f"shard-{number:05d}.jsonl"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.write_bytes(data)
    draft.replace(path)
