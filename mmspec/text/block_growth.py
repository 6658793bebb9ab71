"""Trees of a drafter that says k tokens a pass on their way up, a pass every k levels.

Below a row of a pass k levels are guessed from its k states, whatever is chosen on the way; the
pass that follows reads what was chosen (FLASH's semi-autoregressive head, arXiv:2505.12728).

Axes: F nodes of one level, P rows asked in the last pass, k states of a row, V what a head says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mmspec.text.block_spots import BlockGrove, descend
from mmspec.text.eagle_growth import windows
from mmspec.text.eagle_rows import Said
from mmspec.text.guesses import Guesses
from mmspec.text.spots import ROWS

if TYPE_CHECKING:
    from mmspec.core.grow import Level
    from mmspec.text.eagle import Eagle
    from mmspec.text.eagle_memory import Memory


class BlockGrowth:
    """Trees of many sequences: the states of the last pass, and how nodes hang from its rows."""

    def __init__(self, drafter: Eagle, memories: list[Memory]) -> None:
        self._drafter, self._rows, self._memories = drafter, drafter.rows, memories
        self._parallel, self._window = drafter.rows.config.parallel, drafter.rows.config.window
        self._grove = BlockGrove([memory.home for memory in memories], self._parallel)
        self._guesses = Guesses(drafter.rules, [memory.sequence for memory in memories])
        self._said = Said(torch.empty(0), torch.empty(0))
        # What descend() makes.
        self._lines = self._words = np.zeros((0, 0), np.int64)
        # What heads say of some states of some rows, [rows, states, V]; the first state, the rows.
        self._heard, self._first, self._whose = (
            torch.empty(0),
            self._parallel,
            np.zeros(0, np.int64),
        )

    def expand(self, level: Level) -> tuple[np.ndarray, np.ndarray]:
        """Guess children of the level's nodes; say new states where a block ends."""
        state = level.depth % self._parallel
        if level.depth == 0:
            self._begin(level)
        else:
            self._lines, self._words = descend(
                self._lines, self._words, level.parents, level.tokens
            )
            if state == 0:
                self._pass(level)
        said = self._hear(self._lines[:, 0], state)
        return self._guesses.children(said, level, judged=self._rows.judged)

    def _begin(self, level: Level) -> None:
        """The roots: what was said when their last tokens were committed."""
        chosen = [self._memories[owner] for owner in level.owner]
        states = [memory.state for memory in chosen if memory.state is not None]
        normed = [memory.normed for memory in chosen if memory.normed is not None]
        words = [windows(m.sequence.tokens, len(m.sequence) - 1, 1, self._window) for m in chosen]
        self._enter(Said(torch.stack(states), torch.stack(normed)), np.concatenate(words))

    def _pass(self, level: Level) -> None:
        """Read the block that ends at this level."""
        block = self._grove.block(level.owner, self._lines, self._words, level.depth)
        rows = torch.from_numpy(block.source).to(self._said.states.device)
        states = self._said.states.flatten(0, 1).index_select(0, rows)
        bias = self._drafter.bias(self._memories, block.owner, states)
        store = self._drafter.store
        said = self._rows.run(block.windows, states, block.spots, store, bias)
        self._enter(said, block.windows[: len(level.owner)])

    def _enter(self, said: Said, words: np.ndarray) -> None:
        """Begin a block below the rows of a pass."""
        self._said, self._words = said, words
        self._lines = np.arange(len(words))[:, None]
        self._first = self._parallel  # nothing is heard yet

    def _hear(self, rows: np.ndarray, state: int) -> torch.Tensor:
        """What heads say of a state of each of these rows int64 [F], ascending: [F, V].

        A head's product takes whole groups of rows, so it is asked for as many states to come as
        the last group has room for.
        """
        if not self._first <= state < self._first + self._heard.shape[1]:
            some = np.unique(rows)
            count = -(-len(some) // ROWS) * ROWS // len(some)
            count = min(count, self._parallel - state)
            normed = self._said.normed[torch.from_numpy(some), state : state + count]
            heard = self._rows.heads(normed.flatten(0, 1))[: len(some) * count]
            self._heard, self._first = heard.unflatten(0, (-1, count)), state
            self._whose = some
        places = np.searchsorted(self._whose, rows) * self._heard.shape[1] + state - self._first
        chosen = torch.from_numpy(places).to(self._heard.device)
        return self._heard.flatten(0, 1).index_select(0, chosen)
