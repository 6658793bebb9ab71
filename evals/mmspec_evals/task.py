"""The contract of a benchmark: where its documents come from and how answers are marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mmspec_evals.doc import Doc

Profile = Literal["quality", "speed", "both"]
Style = Literal["chat", "completion"]
Kind = Literal["official", "synthetic", "mini", "custom"]


@dataclass(frozen=True, slots=True)
class Want:
    """What a run asks of a task's loader.

    Attributes:
        data: the user's file or folder (``--data NAME=PATH``), None when none was named.
        limit: at most this many documents; None takes all (a generator then makes 20).
        seed: for everything drawn at random.
        tokens: wished prompt lengths, for generators; empty takes the task's own.
        count: number of tokens of a text under the target's tokenizer.
        prompts: folder of official prompt templates; None uses our own wording.
        profile: "quality" keeps official short answers, "speed" asks for long ones where the
            task knows both.
    """

    data: Path | None
    limit: int | None
    seed: int
    tokens: tuple[int, ...]
    count: Callable[[str], int]
    prompts: Path | None = None
    profile: Literal["quality", "speed"] = "quality"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Loaded documents with where they came from.

    Attributes:
        rows: in the file, before ``limit``. sha256: of the file (or of all files, in name order);
            for generated rows, of their prompts and targets.
        prompts: "own" wording or "official" templates. note: what a reader must know.
    """

    docs: tuple[Doc, ...]
    kind: Kind
    path: str | None
    sha256: str
    rows: int
    prompts: Literal["own", "official"] = "own"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a task; the first metric of a task is its headline."""

    name: str
    higher_is_better: bool = True
    percent: bool = True  # stored as a share 0 to 1, shown times 100


@dataclass(frozen=True, slots=True)
class Scored:
    """One marked document: what an aggregate sees."""

    doc: Doc
    answers: tuple[str, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Task:
    """One benchmark.

    Attributes:
        name: as given to ``--tasks``, such as ``infinitebench/passkey``; the part before the
            slash is its group. aliases: other spellings (of papers, of lm-eval).
        version: raised whenever prompts or scoring change.
        profile: what its numbers are fit for. style: chat messages, or bare text to continue.
        max_new_tokens: cap of one answer. stop: strings that cut the *scored* text; every method
            decodes to its end token or the cap, so that no arm does less work.
        load: documents, or a DataError that says where to put the file.
        score: answers (one a turn) and their document to metric values; a metric left out of
            the mapping does not apply to this document (never raises).
        aggregate: marked documents to metric values; None takes the mean of each metric.
        data: name under which ``--data NAME=PATH`` names its files; None when it needs none.
    """

    name: str
    version: int
    profile: Profile
    style: Style
    max_new_tokens: int
    metrics: tuple[Metric, ...]
    load: Callable[[Want], Corpus]
    score: Callable[[tuple[str, ...], Doc], Mapping[str, float]]
    aggregate: Callable[[list[Scored]], Mapping[str, float]] | None = None
    stop: tuple[str, ...] = ()
    data: str | None = None
    aliases: tuple[str, ...] = ()
    modality: Literal["text", "image"] = "text"

    @property
    def group(self) -> str:
        """What ``--tasks`` takes to mean this and its sisters."""
        return self.name.partition("/")[0]


def mean(scored: list[Scored], metrics: tuple[Metric, ...]) -> dict[str, float]:
    """Plain means over the documents each metric applies to; a metric without any is left out."""
    result: dict[str, float] = {}
    for metric in metrics:
        values: list[Any] = [row.scores[metric.name] for row in scored if metric.name in row.scores]
        if values:
            result[metric.name] = sum(values) / len(values)
    return result
