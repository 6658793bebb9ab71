"""The passes of a drafter's network that says k states at a slot (FLASH, arXiv:2505.12728).

What a row leaves in the store depends on what it is read from alone, so only rows that are asked
for their states go through attention and MLP.

Axes: T rows, N of them asked, k states of a slot, H hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from mmspec_kernels.attention import tree_attention
from mmspec_kernels.layout import ChunkLayout, TreeLayout
from mmspec_kernels.rows import add_norm
from mmspec_kernels.stored import stored
from torch import nn

from mmspec.text.block_spots import asked_first
from mmspec.text.eagle_rows import EagleRows, Said
from mmspec.text.spots import ROWS

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from mmspec.text.spots import Spots


class BlockRows(EagleRows):
    """An ``EagleNetwork`` that is k parallel, prepacked for decoding."""

    def run(
        self, tokens: np.ndarray, states: Tensor, spots: Spots, store: Tensor,
        bias: Tensor | None = None, asked: np.ndarray | None = None,
    ) -> Said:  # fmt: skip
        """As any drafter's, but that states are [N, k, H].

        Args:
            asked: int64 [N]; None: the rows that the layout has, which come first.
        """
        chunk = isinstance(spots.layout, ChunkLayout)
        if asked is not None:
            order, spots = asked_first(spots, asked)
            rows = torch.from_numpy(order).to(self.device)
            tokens, states = tokens[order], states[rows]
            bias = None if bias is None else bias[rows]
        layout = spots.layout
        assert isinstance(layout, TreeLayout)
        ids = torch.from_numpy(tokens).to(self.device)
        if not self.compiled:
            ids = ids if self.config.window > 1 else ids[:, 0]
            return self._plain(ids, states, spots, store, bias)
        total, count = len(tokens), layout.count
        groups = (1, max(total, ROWS)) if chunk else (-(-total // ROWS), ROWS)
        room = self._room if groups == (1, ROWS) else self._make(groups)
        residual, read = self._input(ids, states, bias, room)
        attended = self._attend(tokens, read, spots, store, room)
        own = (len(attended) // ROWS, ROWS)
        if own != groups:
            room = self._room if own == (1, ROWS) else self._make(own)
        body = residual[:count]
        delta = self._inner(stored(body), attended, room)
        return self._parted(body, delta)

    def _parted(self, body: Tensor, delta: Tensor) -> Said:
        """States of rows [N, H] to which the MLP adds [N, k H], and what the head reads."""
        parallel, hidden = self.config.parallel, self.config.hidden
        shape = (len(body), parallel, hidden)
        states, delta = body.repeat_interleave(parallel, 0), delta.reshape(-1, hidden)
        if not self.config.final_norm:
            states += delta
            return Said(states.view(shape), states.view(shape))
        normed = torch.empty_like(states)
        add_norm(
            stored(states), stored(delta), self._last, self.config.eps, stored(normed),
            self._real, self._word,
        )  # fmt: skip
        return Said(states.view(shape), normed.view(shape))

    def _plain(
        self, ids: Tensor, states: Tensor, spots: Spots, store: Tensor, bias: Tensor | None
    ) -> Said:
        network, layout = self.network, spots.layout
        assert isinstance(layout, TreeLayout)
        positions = torch.from_numpy(spots.positions).to(self.device)[None]
        lift = None if bias is None else bias[None]
        query, key, value = network.project(ids[None], states[None], positions, lift)
        slots = torch.from_numpy(spots.slots).to(self.device)
        store[0, :, slots] = key[0].transpose(0, 1)
        store[1, :, slots] = value[0].transpose(0, 1)
        count = layout.count
        padding = (0, 0, 0, 0, 0, len(layout.slots) - count)
        q, k, v = (
            nn.functional.pad(part[0, :count], padding).contiguous() for part in (query, key, value)
        )
        seen = tree_attention(q, k, v, store, layout, layout.reading(None), self._scale)
        lift = None if lift is None else lift[:, :count]
        said = network.finish(ids[None, :count], states[None, :count], seen[None, :count], lift)[0]
        return Said(said, network.norm(said))
