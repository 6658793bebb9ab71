"""Held-out tau without decoding: on text that the target wrote greedily, a chain's fate is known.

A draft goes on only from tokens that were right, so what a chain of drafts meets is the text
itself; one reading of it gives the draft of every place at every depth, and walking over them
gives exactly the passes that greedy chain drafting with that depth takes.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from mmspec.train.packing import PackedRows


class Passes(NamedTuple):
    """What decoding would have done.

    Attributes:
        tokens: tokens emitted.
        passes: target passes after prefill.
        accepted: drafts kept, by depth, int64 [K].
        tried: drafts whose ancestors were all kept, by depth, int64 [K].
    """

    tokens: int
    passes: int
    accepted: np.ndarray
    tried: np.ndarray

    @property
    def tau(self) -> float:
        """Tokens a target pass, the bonus included."""
        return self.tokens / max(1, self.passes)

    def join(self, other: Passes) -> Passes:
        """Both together."""
        return Passes(
            self.tokens + other.tokens,
            self.passes + other.passes,
            self.accepted + other.accepted,
            self.tried + other.tried,
        )


def walk(right: np.ndarray, prompt: int, response: int) -> Passes:
    """Decode one sample with chains of K drafts.

    Args:
        right: bool [K, T], whether the drafter's first choice for token t, as draft number k of
            its chain, is token t; False where it cannot draft.
        prompt: tokens of the prompt. response: tokens of the response; prompt + response <= T.
    """
    deepest = len(right)
    accepted, tried = np.zeros(deepest, np.int64), np.zeros(deepest, np.int64)
    end, passes = prompt + response, 0
    root = prompt - 1  # the last decided token
    while root < end - 1:
        kept = 0
        while kept < deepest and root + 1 + kept < end:
            tried[kept] += 1
            if not right[kept, root + 1 + kept]:
                break
            accepted[kept] += 1
            kept += 1
        root, passes = root + kept + 1, passes + 1
    return Passes(response, passes, accepted, tried)


class Decoded(NamedTuple):
    """A greedy sample of packed rows, decoded: its row, its number there, what it took."""

    row: int
    number: int
    passes: Passes


def decode(rows: PackedRows, right: Tensor) -> list[Decoded]:
    """Every greedy sample of the rows.

    Args:
        right: bool [K, B, T], as :func:`walk` has it.
    """
    told = []
    for row, (sample, learned) in enumerate(zip(rows.sample, rows.learned, strict=True)):
        for number in range(int(sample.max()) + 1):
            mine = (sample == number).nonzero().squeeze(1)
            first, response = int(mine[0]), int(learned[mine].sum())
            if bool(rows.greedy[row, first]):
                whole = right[:, row, first : first + len(mine)].cpu().numpy()
                told.append(Decoded(row, number, walk(whole, len(mine) - response, response)))
    return told


def numbers(passes: Iterable[Passes]) -> dict[str, float]:
    """tau, and the share of tried drafts that were kept; nothing where there are no samples."""
    every = list(passes)
    if not every:
        return {}
    together = reduce(Passes.join, every)
    kept = float(together.accepted.sum() / max(1, together.tried.sum()))
    return {"tau": together.tau, "accepted": kept}
