"""The network of a drafter that sees: a feature drafter's layer, and a reader of pictures.

Axes: B rows, S slots, W window, H hidden, E the target's hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mmspec.text.eagle_config import EagleConfig
from mmspec.text.eagle_network import EagleNetwork
from mmspec.vision.sight import Sight, SightConfig

if TYPE_CHECKING:
    from torch import Tensor


class VispecConfig(EagleConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A feature drafter's shape, and how it sees."""

    sight: SightConfig = SightConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sight.how == "keep" and self.target_hidden != self.hidden:
            raise ValueError("sight: pictures are kept where both widths are the same")


class VispecNetwork(EagleNetwork):
    """An ``EagleNetwork`` some of whose slots are pictures'.

    Such a slot has no token: its window is -1, and what a reader kept of the picture stands in
    the place of its state. A wide layer reads no embedding there; a narrow one passes it by
    ``fc`` (ViSpec and MSD).
    """

    config: VispecConfig

    def __init__(self, config: VispecConfig) -> None:
        super().__init__(config)
        self.sight = Sight(config, config.sight)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings [..., E], 0 where there is no token."""
        return super().embed(tokens.clamp_min(0)) * (tokens >= 0).unsqueeze(-1)

    def _input(self, tokens: Tensor, states: Tensor, bias: Tensor | None) -> Tensor:
        read = super()._input(tokens, states, bias)
        return read if self.config.wide else torch.where((tokens < 0)[..., None], states, read)
