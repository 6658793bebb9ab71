"""Where an answer ends: every arm is cut by the same rule, so none gains by running on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmspec_evals.trace import Rounds

if TYPE_CHECKING:
    from collections.abc import Collection


def trim_ids(ids: list[int], stops: Collection[int], cap: int) -> tuple[list[int], str]:
    """New tokens up to the first stop token (kept) or the cap, and which of the two it was.

    >>> trim_ids([5, 2, 9], {2}, 8)
    ([5, 2], 'stop')
    """
    for index, token in enumerate(ids[:cap]):
        if token in stops:
            return ids[: index + 1], "stop"
    return ids[:cap], "length"


def trim_rounds(rounds: Rounds, tokens: int) -> Rounds:
    """The rounds that said the first ``tokens`` tokens; the last one keeps what still counts.

    A round says what it accepted and one token more. What was proposed stays as it was: that work
    was done.

    >>> trim_rounds(Rounds(proposed=[4, 4], depth=[4, 4], accepted=[1, 3]), 4).accepted
    [1, 1]
    """
    accepted: list[int] = []
    left = tokens
    for kept in rounds.accepted:
        if left <= 0:
            break
        accepted.append(min(kept, left - 1))
        left -= kept + 1
    count = len(accepted)
    return Rounds(proposed=rounds.proposed[:count], depth=rounds.depth[:count], accepted=accepted)
