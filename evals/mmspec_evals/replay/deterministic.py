"""A drafter that ranks its guesses by their chance alone, deaf to the request's noise (A12).

The drafters of this repository rank what they guess for a sampled request by chance and by the very
noise with which the target will draw. Held against it: the same network, the same texts, its
chances at the request's temperature and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
import torch

from mmspec.core.drafter import Needs
from mmspec.text import block_growth, eagle_growth
from mmspec.text.guesses import Guesses, Rules

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Budget, Observation
    from mmspec.core.grow import Level
    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree
    from mmspec.text.eagle import Eagle


class Deaf(Guesses):
    """Guesses by chance alone."""

    def __init__(self, rules: Rules, sequences: ListOf[Sequence]) -> None:
        super().__init__(rules, sequences)
        self._heats, self._warmth = self._warmth, np.zeros_like(self._warmth)

    def children(
        self, said: torch.Tensor, level: Level, *, judged: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """As it was, of logits over temperature; what is judged of a node stays as it is."""
        heats = self._heats[level.owner]
        scale = torch.from_numpy(np.where(heats > 0, heats, np.float32(1.0)))[:, None]
        words = said[:, : len(self._rules.ids)].float() / scale.to(said.device)
        rest = said[:, len(self._rules.ids) :].float()
        return super().children(torch.cat([words, rest], 1).to(said.dtype), level, judged=judged)


class Deterministic:
    """Speaks with another drafter's network and memory, which the other keeps; see above."""

    needs = Needs()
    runs_model = True

    def __init__(self, other: Eagle) -> None:
        self._other = other

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Nothing: the other observes."""

    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """The other's trees, without noise."""
        with patch.object(eagle_growth, "Guesses", Deaf), patch.object(
            block_growth, "Guesses", Deaf
        ):  # fmt: skip
            return self._other.draft(sequences, budgets)

    def forget(self, id: str) -> None:
        """Nothing: the other forgets."""
