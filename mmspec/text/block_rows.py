"""The passes of a drafter's network that says k states at a slot (FLASH, arXiv:2505.12728).

They spare the rows that nobody asks in every pass (``EagleRows.run``), for a block has k times as
many rows as are asked.

Axes: N rows asked, k states of a slot, H hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from mmspec_kernels.rows import add_norm
from mmspec_kernels.stored import stored

from mmspec.text.eagle_rows import EagleRows, Said

if TYPE_CHECKING:
    from torch import Tensor


class BlockRows(EagleRows):
    """An ``EagleNetwork`` that is k parallel, prepacked for decoding; its states are [N, k, H]."""

    spares = True

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
