"""The contract of a method under test, and the prepared request it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec.core.request import Prompt, Sampling
    from mmspec_evals.trace import Trace


@dataclass(frozen=True, slots=True)
class Case:
    """One turn, ready to be answered by any method; everything costly is done already.

    Attributes:
        prompt: ids and decoded pictures, as the target reads them, chat template applied.
        messages: the same in OpenAI's shape (pictures as data URLs), for methods behind a URL;
            None for bare text, then ``text`` holds it.
        sampling: temperature, seed, cap; nothing else differs from plain decoding.
    """

    prompt: Prompt
    sampling: Sampling
    messages: list[dict[str, Any]] | None
    text: str | None
    truncated: int  # prompt tokens left out to fit the context


class UnsupportedError(Exception):
    """This method cannot answer this case; the message says why, for the report."""


class Method(Protocol):
    """Something that answers; made once a run, used for one case at a time."""

    @property
    def name(self) -> str:
        """Its label; may hold ``:``, ``=``, ``,`` and ``#`` but nothing a file name may not."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that shapes it, JSON-able, recorded in the results."""
        ...

    @property
    def lossless(self) -> bool:
        """Whether it claims to equal plain decoding of the target."""
        ...

    def generate(self, case: Case) -> Trace:
        """Answer; caches are cold at the start (prefix and picture caches are cleared first).

        Raises:
            UnsupportedError: it cannot, and why. MemoryError (or torch's out-of-memory).
        """
        ...

    def close(self) -> None:
        """Give everything back."""
        ...
