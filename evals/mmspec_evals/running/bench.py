"""What an executor works with, and the little it asks of each: fakes fit as well as models do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmspec_evals.doc import Doc
    from mmspec_evals.method import Case, Method
    from mmspec_evals.task import Task
    from mmspec_evals.trace import Audit, Trace


class Preparing(Protocol):
    """Makes cases; see ``mmspec_evals.running.prepare.Preparer``."""

    def case(
        self, task: Task, doc: Doc, turn: int = 0, answers: Sequence[str] = (), repeat: int = 0
    ) -> Case:
        """Turn ``turn`` after the answers given to those before it.

        Raises:
            UnsupportedError: it does not fit or cannot be read.
        """
        ...


class Auditing(Protocol):
    """Compares a conversation with plain decoding's; see ``mmspec_evals.running.audit``."""

    def __call__(
        self, plain: Sequence[Trace], other: Sequence[Trace], cases: Sequence[Case], method: Method
    ) -> Audit | None:
        """None when there is nothing to compare."""
        ...


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything loaded for a run.

    Attributes:
        tasks: by name. docs: by task and id, as loaded (pictures can be read); ``shown`` the same
            as stored, for scorers.
        methods: by name. audit: None leaves samples without one.
    """

    tasks: Mapping[str, Task]
    docs: Mapping[str, Mapping[str, Doc]]
    shown: Mapping[str, Mapping[str, Doc]]
    methods: Mapping[str, Method]
    preparer: Preparing
    audit: Auditing | None = None
