"""Reviews on disk: one file a task and method, a line an attempt, the last good one counts."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from mmspec_evals.errors import DataError
from mmspec_evals.judge.wording import VERSION
from mmspec_evals.running.layout import folder, lines

if TYPE_CHECKING:
    from pathlib import Path


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """One reply of a judge.

    Attributes:
        question_id: of the document. answer: SHA-256 of the candidate's text.
        reply: the judge's text. reference, candidate: grades; None if the review failed.
        error: why there is no reply.
    """

    question_id: str
    category: str
    answer: str
    model: str
    wording: int = VERSION
    reply: str = ""
    reference: float | None = None
    candidate: float | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes one review stand for another: equal answers of two methods share one."""
        return self.question_id, self.answer, self.model, self.wording

    @property
    def failed(self) -> bool:
        """Whether there are no grades."""
        return self.candidate is None or self.reference is None


def path(run: Path, task: str, method: str) -> Path:
    """The file of one task's and method's reviews."""
    return run / "judge" / f"{folder(task)}.{method}.jsonl"


def read(file: Path) -> list[Review]:
    """Every whole line, in order; none if there is no file.

    Raises:
        DataError: a line is no review.
    """
    if not file.is_file():
        return []
    try:
        return [msgspec.json.decode(line, type=Review) for line in lines(file.read_bytes())]
    except msgspec.DecodeError as error:
        raise DataError(f"{file}: {error}") from error


def append(file: Path, review: Review) -> None:
    """Add a line, in the place of one that a crash cut short."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = file.read_bytes() if file.is_file() else b""
    if data and not data.endswith(b"\n"):
        file.write_bytes(data[: data.rfind(b"\n") + 1])
    with file.open("ab") as stream:
        stream.write(msgspec.json.encode(review) + b"\n")


def known(run: Path, task: str) -> dict[tuple[str, str, str, int], Review]:
    """Good reviews of a task, of whichever method, by what they are about."""
    found: dict[tuple[str, str, str, int], Review] = {}
    for file in sorted((run / "judge").glob(f"{folder(task)}.*.jsonl")):
        found.update((review.key, review) for review in read(file) if not review.failed)
    return found


def sha(answer: str) -> str:
    """Digest of an answer."""
    return hashlib.sha256(answer.encode("utf-8", "surrogatepass")).hexdigest()
