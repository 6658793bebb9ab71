"""On-policy text: in rounds, the student as it is now answers questions that have no pictures.

``FOLDER/00001`` is round 1: the student's answers, and itself for as long as it is writing them.
A killed round goes on with the same student, so what is read is the same text.
"""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

import msgspec

from mmspec.core.config import ModelConfig
from mmspec.core.errors import ConfigError
from mmspec.train.asked import write_answers
from mmspec.train.guards import GuardError
from mmspec.train.questions import Question
from mmspec.train.responses import Responses, Writing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mmspec.model.processor import Processor
    from mmspec.train.drafter_loop import Crew
    from mmspec.train.responses import Record

LOG = logging.getLogger(__name__)


class Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of what is learned from the student wrote itself.

    Attributes:
        share: of the micro-batches from step ``refresh`` on; 0: none.
        refresh: steps of a round. questions: answered in each.
    """

    share: float = 0.5
    refresh: int = 250
    questions: int = 128
    writing: Writing = Writing(greedy=0.0, max_tokens=256, shard=64)

    def before(self, number: int) -> int:
        """How many of the micro-batches up to ``number`` are the student's, evenly spread."""
        return int(number * self.share)


class TextQuestions:
    """Questions that the target has answered, asked again: a slice of those without pictures."""

    def __init__(self, records: Sequence[Record], first: int, count: int, source: str) -> None:
        self._records = [records[(first + k) % len(records)] for k in range(count)]
        self.name = f"{count} texts from {first} of {source}"

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Question:
        record = self._records[index]
        return Question(record.kind, record.messages, record.text)


class OwnAnswers:
    """Calling it with a round's number gives that round's answers, written if need be.

    Args:
        folder: of all rounds.
        answers: the target's, to whose questions, but for the last ``held_out``, it answers.
        processor: the target's. device: where the student writes.
        export: writes the student of now into a folder, whole or not at all.

    Raises:
        GuardError: every question has a picture.
    """

    def __init__(
        self, folder: Path, answers: Responses, held_out: int, own: Own, processor: Processor,
        device: str, crew: Crew, export: Callable[[Path], None],
    ) -> None:  # fmt: skip
        learned = answers.records[: max(0, len(answers) - held_out)]
        self._records = [record for record in learned if not record.pictures]
        if not self._records:
            raise GuardError("all questions have pictures, unseen by the student: own.share = 0")
        self._folder, self._own, self._processor = folder, own, processor
        self._device, self._crew, self._export = device, crew, export
        self._source = f"{answers.manifest.fingerprint[:12]} {answers.manifest.questions}"

    def __call__(self, number: int) -> Responses:
        """Round ``number``, from 1.

        Raises:
            ConfigError: the folder holds a round that was asked otherwise.
        """
        folder = self._folder / f"{number:05d}"
        count = self._own.questions
        asked = TextQuestions(self._records, (number - 1) * count, count, self._source)
        if self._crew.leads:
            self._write(folder, asked)
        self._crew.wait()
        told = Responses(folder, self._processor)
        if (told.manifest.questions, told.manifest.writing) != (asked.name, self._own.writing):
            raise ConfigError(f"{folder} holds a round that was asked otherwise")
        return told

    def _write(self, folder: Path, asked: TextQuestions) -> None:
        student = folder / "student"
        if not student.exists():
            if (folder / "manifest.json").exists():
                return  # it leaves when it has answered all
            folder.mkdir(parents=True, exist_ok=True)
            self._export(student)
        LOG.info("the student answers %d questions into %s", len(asked), folder)
        model = ModelConfig(path=str(student), device=self._device)
        write_answers(model, asked, folder, self._own.writing)
        gone = student.rename(folder / "student.gone")
        shutil.rmtree(gone)
