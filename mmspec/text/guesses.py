"""Which guesses of a growing tree are worth a row of the verify.

Axes: F nodes of one level, V ids a head scores, k children.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mmspec.core.stops import Stops
from mmspec.text.children import likely_children

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Facts
    from mmspec.core.grow import Level
    from mmspec.core.sequence import Sequence


class Rules:
    """What holds for every tree of one drafter.

    Args:
        facts: of the target: what may never be guessed, and where texts end.
        ids: int64 [V], the target id of every column of the drafter's logits.
        children: guesses at one node.
        floor: least chance of acceptance for which a guess is made.
    """

    def __init__(self, facts: Facts, ids: np.ndarray, children: int, floor: float) -> None:
        self.ids, self.children = ids, children
        self.floor = np.float32(np.log(max(floor, 1e-30)))
        self.stops = Stops(facts.stop_tokens)
        # Columns a request may never be guessed: pictures, and what the target does not know.
        never = np.isin(ids, sorted(facts.media_tokens)) | (ids >= facts.vocabulary)
        self.never = torch.from_numpy(np.flatnonzero(never))


class Guesses:
    """The trees of some sequences on their way up: what was guessed at the level last expanded."""

    def __init__(self, rules: Rules, sequences: ListOf[Sequence]) -> None:
        self._rules, self._sequences = rules, sequences
        self._stops = [frozenset(rules.stops.of(sequence).tolist()) for sequence in sequences]
        self._paths = np.zeros(0, np.float32)
        self._tokens, self._chances = np.zeros((0, 0), np.int64), np.zeros((0, 0), np.float32)

    def children(
        self, logits: torch.Tensor, level: Level, confidence: torch.Tensor | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Children of every node, as :func:`mmspec.core.grow.grow` wants them.

        Args:
            logits: [F, V], the drafter's.
            level: the nodes; their parents are rows of the level given before.
            confidence: float32 [F, 1], log-chance that what is guessed at a node is accepted.

        Returns:
            tokens int64 [F, k] and log-probabilities float32 [F, k], -inf where a guess is not
            worth a row.
        """
        rules, above = self._rules, level.parents
        scores = logits.float()
        if len(rules.never):
            scores = scores.index_fill(1, rules.never.to(scores.device), -torch.inf)
        heard = scores.cpu().numpy()
        if level.depth == 0:
            self._paths = np.zeros(len(level.owner), np.float32)
        else:
            column = (self._tokens[above] == level.tokens[:, None]).argmax(1)
            self._paths = self._paths[above] + np.minimum(self._chances[above, column], 0.0)
        tokens, chances = likely_children(heard, level, self._sequences, rules.children, rules.ids)
        if confidence is not None:
            chances += confidence.cpu().numpy()
        hopeless = self._paths[:, None] + chances < rules.floor
        if level.depth:
            for row, (token, owner) in enumerate(
                zip(level.tokens.tolist(), level.owner.tolist(), strict=True)
            ):
                if token in self._stops[owner]:
                    hopeless[row] = True
        self._tokens, self._chances = tokens, np.where(hopeless, np.float32(-np.inf), chances)
        return self._tokens, self._chances
