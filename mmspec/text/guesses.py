"""Which guesses of a growing tree are worth a row of the verify.

Axes: B sequences, F nodes of one level, V ids a head scores, k children.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mmspec_kernels.stored import stored

from mmspec.core.noise import key
from mmspec.core.stops import Stops
from mmspec.text.children import Guessed, Nodes, Words, choose_children

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    import torch

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
        heard: share of a sampled request's noise that ranks guesses (``children``).
    """

    def __init__(
        self, facts: Facts, ids: np.ndarray, children: int, floor: float, heard: float = 1.0
    ) -> None:
        self.ids, self.children = ids, min(children, len(ids))
        self.floor, self.heard = np.float32(np.log(max(floor, 1e-30))), np.float32(heard)
        self.stops = Stops(facts.stop_tokens)
        # Columns a request may never be guessed: pictures, and what the target does not know.
        never = np.isin(ids, sorted(facts.media_tokens)) | (ids >= facts.vocabulary)
        self.never = np.flatnonzero(never)


class Guesses:
    """The trees of some sequences on their way up: what was guessed at the level last expanded."""

    def __init__(self, rules: Rules, sequences: ListOf[Sequence]) -> None:
        self._rules, self._sequences = rules, sequences
        ends = [rules.stops.of(sequence) for sequence in sequences]
        stops = np.full((len(ends), max(map(len, ends), default=0)), -1, np.int64)
        for row, own in enumerate(ends):
            stops[row, : len(own)] = own
        self._words = Words(rules.ids, rules.never, stops, rules.floor, rules.heard)
        heats = [sequence.request.sampling.temperature for sequence in sequences]
        self._warmth = np.array(heats, np.float32)
        self._last = _room(0, rules.children)

    def children(
        self, said: torch.Tensor, level: Level, *, judged: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Children of every node, as :func:`mmspec.core.grow.grow` wants them.

        Args:
            said: [F, V], the drafter's logits; where ``judged``, [F, V + 1], the last column the
                logit of the chance that what is guessed at a node is accepted.
            level: the nodes; their parents are rows of the level given before.

        Returns:
            tokens int64 [F, k] and log-probabilities float32 [F, k], -inf where a guess is not
            worth a row.
        """
        warmth = self._warmth[level.owner]
        nodes = Nodes(
            level.owner, level.tokens, level.parents, warmth, self._keys(level, warmth),
            level.depth == 0,
        )  # fmt: skip
        made = _room(len(level.owner), self._rules.children)
        heard = stored(said if said.device.type == "cpu" else said.cpu())
        choose_children(heard, judged, nodes, self._last, self._words, made)
        self._last = made
        return made.tokens, made.chances

    def _keys(self, level: Level, warmth: np.ndarray) -> np.ndarray:
        """Each node's noise key, uint64 [F]; 0 for greedy ones."""
        keys = np.zeros(len(warmth), np.uint64)
        if self._warmth.any():
            for row, owner in enumerate(level.owner.tolist()):
                one = self._sequences[owner]
                if warmth[row] > 0:
                    keys[row] = key(one.seed, one.choice, len(one) + level.depth)
        return keys


def _room(nodes: int, children: int) -> Guessed:
    shape = (nodes, children)
    return Guessed(
        np.empty(shape, np.int64), np.empty(shape, np.float32), np.empty(nodes, np.float32)
    )
