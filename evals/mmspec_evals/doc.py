"""A document to be answered: what is shown, and what a scorer needs to mark the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Text:
    """Words of a prompt.

    Attributes:
        trim: this is the long part; only it may be shortened (in its middle) to fit the context.
    """

    text: str
    trim: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a prompt, read when it is needed.

    Attributes:
        name: what a report calls it. read: its encoded bytes (PNG, JPEG, ...).
    """

    name: str
    read: Callable[[], bytes]


Part = Text | Picture


@dataclass(frozen=True, slots=True)
class Doc:
    """One row of a benchmark.

    Attributes:
        id: unique within its task.
        turns: what the user says, in order; with more than one, the answers given stand between.
        target: the reference, in whatever shape the task's scorer takes (JSON-able).
        cluster: rows that share a book or a picture share this; the unit of resampling.
        system: a system message, if the benchmark has one.
        fields: what else the scorer or the report needs (category, options, ...; JSON-able).
    """

    id: str
    turns: tuple[tuple[Part, ...], ...]
    target: Any
    cluster: str
    system: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
