"""The target's rotation of queries, for drafters that ask its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from mmspec.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

_MOVING = {"dynamic", "longrope"}  # kinds whose frequencies depend on how long a text is


class Turning(NamedTuple):
    """How a decoder turns queries and keys.

    Attributes:
        frequencies: float32 [D / 2], radians a position. scale: of cosines and sines.
    """

    frequencies: Tensor
    scale: float

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines float32 [B, T, D] at rotary positions int64 [B, T] or [3, B, T].

        Where positions have three axes those of text agree, and only text is turned here.
        """
        flat = positions[0] if positions.ndim == 3 else positions
        half = flat[..., None].float() * self.frequencies.to(flat.device)
        turns = torch.cat([half, half], -1)
        return turns.cos() * self.scale, turns.sin() * self.scale


def turning(decoder: Any, dim: int) -> Turning:
    """How a decoder turns its keys.

    Args:
        dim: width of a key.

    Raises:
        ConfigError: in more than one way, only in part, or by the length of the text.
    """
    rotary = getattr(decoder, "rotary_emb", None)
    turns = getattr(rotary, "inv_freq", None)
    kind = getattr(rotary, "rope_type", "default")
    if turns is None or turns.shape[-1] * 2 != dim or kind in _MOVING:
        raise ConfigError(
            f"{type(decoder).__name__}: no one fixed rotation turns all {dim} places of its keys"
        )
    return Turning(turns.detach().float(), float(getattr(rotary, "attention_scaling", 1.0)))
