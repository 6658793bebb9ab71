"""A clock that moves when told, a target whose passes take time, drafters that cost and pay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from running import engine as small

from mmspec.core.drafter import Needs
from mmspec.core.tree import TokenTree

if TYPE_CHECKING:
    from mmspec.engine.engine import Engine

PASS, ROW = 1.0, 0.05  # seconds of a target pass, and of each row of it beyond the first


class Clock:
    """Seconds, by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Chain:
    """Says what comes next for ``right(place)`` tokens, then lies, in chains of ``length``.

    Args:
        texts: request id -> all that is said. cost: seconds of a call for one sequence.
    """

    needs = Needs()

    def __init__(self, clock, texts, right, length=3, cost=0.0, watch=0.0, *, model=True):
        self.runs_model = model
        self._clock, self._texts, self._right = clock, texts, right
        self._length, self._cost, self._watch = length, cost, watch
        self.asked: dict[str, list[int]] = {}
        self.shown: dict[str, list[np.ndarray]] = {}

    def observe(self, sequences, seen):
        for index, one in enumerate(sequences):
            part = seen.tokens[seen.offsets[index] : seen.offsets[index + 1]]
            self.shown.setdefault(one.request.id, []).append(part)
        self._clock.now += self._watch * len(sequences)

    def draft(self, sequences, budgets):
        self._clock.now += self._cost * len(sequences)
        return [self._tree(one, budget) for one, budget in zip(sequences, budgets, strict=True)]

    def forget(self, id):
        pass

    def _tree(self, one, budget):
        place = len(one.output)
        self.asked.setdefault(one.request.id, []).append(place)
        ahead = self._texts[one.request.id][place:]
        count = min(self._length, budget.depth, budget.nodes - 1, len(ahead))
        right = self._right(place)
        guesses = [t if i < right else (t + 1) % 90 for i, t in enumerate(ahead[:count])]
        tokens = np.array([one.tokens[-1], *guesses], np.int64)
        parents = np.arange(-1, len(guesses), dtype=np.int32)
        scores = -np.arange(len(tokens), dtype=np.float32) / 10
        return TokenTree(tokens, parents, scores, np.zeros(len(tokens), np.uint8))


def engine(target, clock, drafters, **options) -> Engine:
    """A small engine in which time is what the clock says."""
    made = small(target, drafters, **{"judge_rounds": 64, **options}, clock=clock)
    forward = target.forward

    def timed(batch, cache, needs):
        rows = batch.count
        clock.now += PASS + ROW * (rows - 1)
        return forward(batch, cache, needs)

    made.target = _Slow(target, timed)
    return made


class _Slow:
    def __init__(self, target, forward):
        self._target, self.forward = target, forward

    def __getattr__(self, name):
        return getattr(self._target, name)
