"""Trees of a feature drafter on their way up, a pass of its network a level.

Axes: B sequences, F nodes of one level, H hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mmspec.text.eagle_rows import Said
from mmspec.text.guesses import Guesses
from mmspec.text.spots import Grove

if TYPE_CHECKING:
    from mmspec.core.grow import Level
    from mmspec.text.eagle import Eagle
    from mmspec.text.eagle_memory import Memory


class Growth:
    """Trees of many sequences on their way up: the states of the level last expanded."""

    def __init__(self, drafter: Eagle, memories: list[Memory]) -> None:
        self._drafter, self._rows, self._memories = drafter, drafter.rows, memories
        self._grove = Grove([memory.home for memory in memories])
        self._near = drafter.near(memories)
        self._guesses = Guesses(drafter.rules, [memory.sequence for memory in memories])
        self._said = Said(torch.empty(0), torch.empty(0))
        self._windows = np.zeros((0, 0), np.int64)

    def expand(self, level: Level) -> tuple[np.ndarray, np.ndarray]:
        """Say states for the level's nodes, and guess their children."""
        if level.depth == 0:
            chosen = [self._memories[owner] for owner in level.owner]
            states = [memory.state for memory in chosen if memory.state is not None]
            normed = [memory.normed for memory in chosen if memory.normed is not None]
            self._said = Said(torch.stack(states), torch.stack(normed))
            width = self._rows.config.window
            self._windows = np.concatenate(
                [windows(m.sequence.tokens, len(m.sequence) - 1, 1, width) for m in chosen]
            )
        else:
            rows = torch.from_numpy(level.parents).to(self._said.states.device)
            states_above = self._said.states.index_select(0, rows)
            spots = self._grove.level(level.owner, level.parents, level.depth)
            if self._near is not None:
                spots = self._near.seen(spots, level.owner)
            above = self._windows[level.parents, :-1]
            self._windows = np.concatenate([level.tokens[:, None], above], 1)
            bias = self._drafter.bias(self._memories, level.owner, states_above)
            self._said = self._rows.run(
                self._windows, states_above, spots, self._drafter.store, bias
            )
        said = self._rows.heads(self._said.normed)[: len(level.owner)]
        return self._guesses.children(said, level, judged=self._rows.judged)


def windows(tokens: np.ndarray, first: int, count: int, width: int) -> np.ndarray:
    """Tokens at the places from ``first`` on and before each, int64 [count, width], latest first.

    Before its beginning a text repeats its first token.
    """
    places = np.arange(first, first + count)[:, None] - np.arange(width)
    return tokens[np.maximum(places, 0)]
