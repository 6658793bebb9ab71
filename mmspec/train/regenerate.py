"""Training text in the target's own words: our engine answers questions into JSON-line shards.

A shard is a pure function of the manifest and is written whole or not at all, so a killed run
goes on with the first one missing.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mmspec import __version__
from mmspec.core.errors import BadRequestError, ConfigError, EngineFaultError
from mmspec.core.request import Request, Sampling
from mmspec.model.load import locate
from mmspec.train.data.seeds import generator
from mmspec.train.responses import (
    Manifest,
    Record,
    Writing,
    ask,
    prompt_digest,
    shard_path,
    write_whole,
)

if TYPE_CHECKING:
    from PIL import Image

    from mmspec.engine.engine import Engine
    from mmspec.model.processor import Processor
    from mmspec.train.questions import Question, Questions

LOG = logging.getLogger(__name__)
# What decides the target's answers; in this order under the fingerprint.
_FILES = ("*.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "*processor*")


def fingerprint(model: str) -> str:
    """SHA-256 over a model folder's weights, configuration, tokenizer and template.

    A hub id that is no folder gives the digest of its name.
    """
    folder, digest = Path(locate(model)), hashlib.sha256()
    if not folder.is_dir():
        return hashlib.sha256(model.encode()).hexdigest()
    for path in sorted({path for pattern in _FILES for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def tokenizer_digest(model: str) -> str:
    """SHA-256 of a model folder's tokenizer file; empty where there is none."""
    path = Path(locate(model)) / "tokenizer.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def manifest(model: str, questions: Questions, writing: Writing) -> Manifest:
    """What a folder of these answers says of itself."""
    return Manifest(model, fingerprint(model), questions.name, len(questions), writing, __version__)


def missing(folder: Path, asked: Manifest) -> list[int]:
    """Numbers of the shards not yet written.

    Raises:
        ConfigError: the folder holds answers that were written otherwise.
    """
    path = folder / "manifest.json"
    if path.exists():
        before = msgspec.json.decode(path.read_bytes(), type=Manifest)
        if msgspec.structs.replace(before, version=asked.version) != asked:
            raise ConfigError(f"{folder} holds answers of another model, or asked otherwise")
    count = -(-asked.count // asked.writing.shard)
    return [number for number in range(count) if not shard_path(folder, number).exists()]


class Regenerator:
    """Writes the shards of one folder.

    Args:
        engine: the target's, with drafters or without: its text is the same.
        model: what the manifest calls it: "nano", a folder or a hub id.

    Attributes:
        missing: numbers of the shards that were not there at the start.

    Raises:
        ConfigError: the folder holds answers that were written otherwise.
    """

    def __init__(
        self, engine: Engine, processor: Processor, model: str,
        questions: Questions, folder: Path, writing: Writing,
    ) -> None:  # fmt: skip
        self._engine, self._processor, self._questions = engine, processor, questions
        self._folder, self._writing = folder, writing
        self.manifest = manifest(model, questions, writing)
        self.missing = missing(folder, self.manifest)
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        write_whole(
            folder / "manifest.json", msgspec.json.format(msgspec.json.encode(self.manifest))
        )

    def write(self, number: int) -> int:
        """Write one shard; returns how many answers it holds."""
        first = number * self._writing.shard
        last = min(first + self._writing.shard, len(self._questions))
        asked = {index: self._request(index) for index in range(first, last)}
        told = self._answer([request for request, _ in asked.values()])
        records = [
            self._record(index, request, question, *told[request.id])
            for index, (request, question) in asked.items()
            if request.id in told
        ]
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        write_whole(shard_path(self._folder, number), lines)
        return len(records)

    def _request(self, index: int) -> tuple[Request, Question]:
        question, how = self._questions[index], self._writing
        greedy = int((index + 1) * how.greedy) > int(index * how.greedy)
        seed = generator(how.seed, f"answer {index}").getrandbits(62)
        sampling = Sampling(
            temperature=0.0 if greedy else how.temperature,
            top_p=1.0 if greedy else how.top_p,
            max_tokens=how.max_tokens,
            seed=seed,
        )
        prompt = ask(question, self._processor, self._engine.target.max_context)
        return Request(f"answer-{index}", prompt, sampling), question

    def _answer(self, requests: list[Request]) -> dict[str, tuple[list[int], str]]:
        """Token ids and finish reason by request; refused requests are left out."""
        told: dict[str, list[int]] = {}
        done: dict[str, tuple[list[int], str]] = {}
        for request in requests:
            try:
                self._engine.submit(request)
            except BadRequestError as error:
                LOG.warning("%s is left out: %s", request.id, error)
                continue
            told[request.id] = []
        while self._engine.busy:
            for delta in self._engine.step():
                if delta.error is not None:
                    raise EngineFaultError(delta.error)
                told[delta.request_id] += delta.tokens
                if delta.finish_reason is not None:
                    done[delta.request_id] = (told[delta.request_id], delta.finish_reason)
        return done

    def _record(
        self, index: int, request: Request, question: Question, response: list[int], finish: str
    ) -> Record:
        return Record(
            index=index,
            kind=question.kind,
            prompt=prompt_digest(request.prompt),
            prompt_tokens=len(request.prompt.ids),
            response=response,
            finish=finish,
            temperature=request.sampling.temperature,
            seed=request.sampling.seed or 0,
            messages=question.messages,
            text=question.text,
            pictures=tuple(self._keep(image) for image in question.images),
        )

    def _keep(self, image: Image.Image) -> str:
        """Store a picture under the digest of its pixels; returns its file's name."""
        pixels = image.convert("RGB")
        digest = hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).hexdigest()[:32]
        path = self._folder / "pictures" / f"{digest}.png"
        if not path.exists():
            draft = path.with_suffix(".tmp")
            pixels.save(draft, format="PNG")
            draft.replace(path)
        return path.name
