"""Held-out tau without decoding: on text that the target wrote greedily, a chain's fate is known.

A draft goes on only from tokens that were right, so what a chain of drafts meets is the text
itself; the unrolled step gives the draft of every place at every depth, and walking over them
gives exactly the passes that greedy chain drafting with that depth takes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


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
        right: bool [K, T], whether the drafter's first choice at depth k is the token after next
            of slot t (slot t reads the feature of token t and the embedding of token t + 1).
        prompt: tokens of the prompt. response: tokens of the response; prompt + response <= T.
    """
    deepest = len(right)
    accepted, tried = np.zeros(deepest, np.int64), np.zeros(deepest, np.int64)
    end, passes = prompt + response, 0
    root = prompt - 1  # the last decided token; its predecessors' features are known
    while root < end - 1:
        kept = 0
        while kept < deepest and root + 1 + kept < end:
            tried[kept] += 1
            # A prompt of one token has no feature to draft from.
            if root == 0 or not right[kept, root - 1 + kept]:
                break
            accepted[kept] += 1
            kept += 1
        root, passes = root + kept + 1, passes + 1
    return Passes(response, passes, accepted, tried)
