"""The draft model's passes: chunks of a long text, chains of what was decided, levels of trees.

Rows of chains and trees go through it in groups of a fixed size, so that a row's bits never depend
on how many sequences draft beside it.

Axes: C tokens of a chunk, T rows, G groups of R rows, H hidden, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mmspec.model.batch import Batch
from mmspec.text.spots import ROWS, chunk_spots, grouped

if TYPE_CHECKING:
    from mmspec.model.attend import Read
    from mmspec.model.cache import KVCache
    from mmspec.model.target import Target
    from mmspec.text.spots import Home, Spots


class DraftRows:
    """A model that is somebody else's draft model, over a store of its own."""

    def __init__(self, model: Target, cache: KVCache) -> None:
        self._model, self._cache = model, cache

    def chunk(self, tokens: np.ndarray, home: Home) -> None:
        """Read the next tokens int64 [C] of one sequence in one causal pass."""
        self._pass(tokens[None], chunk_spots(home, len(tokens)))

    def states(self, tokens: np.ndarray, spots: Spots, read: Read | None = None) -> torch.Tensor:
        """Normed hidden states [T, H] of rows of chains or trees, tokens int64 [T].

        ``read`` says what they read on layers of a sliding width; None: all that they may.
        """
        rows = np.zeros(-(-len(tokens) // ROWS) * ROWS, np.int64)
        rows[: len(tokens)] = tokens
        return self._pass(rows.reshape(-1, ROWS), spots, read)[: len(tokens)]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """[T, V] of normed hidden states [T, H]."""
        return self._model.family.head(grouped(states)).flatten(0, 1)[: len(states)]

    def _pass(self, tokens: np.ndarray, spots: Spots, read: Read | None = None) -> torch.Tensor:
        """Rows int64 [G, R] to [G * R, H]; writes their keys and values."""
        positions = np.zeros(tokens.size, np.int64)
        positions[: len(spots.positions)] = spots.positions
        rope = torch.from_numpy(positions).view(tokens.shape)
        axes = self._model.family.axes
        batch = Batch(
            tokens=torch.from_numpy(tokens),
            positions=rope if axes == 1 else rope.expand(axes, *rope.shape),
            layout=spots.layout,
            count=len(spots.positions),
        )
        return self._model.states(batch, self._cache, read=read)[0].flatten(0, 1)
