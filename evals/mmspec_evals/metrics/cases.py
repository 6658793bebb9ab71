"""One free-standing row, scored: what ``mmspec-eval score-cases`` writes back."""

from __future__ import annotations

import msgspec


class CaseScore(msgspec.Struct, frozen=True, kw_only=True):
    """The official score of one row.

    Attributes:
        score: one number, or several, by name or in order, where the official scorer gives several.
        error: why the official scorer gives none (then ``score`` is 0).
    """

    score: float | dict[str, float] | list[float]
    error: str | None = None
