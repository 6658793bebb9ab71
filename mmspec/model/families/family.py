"""What the target asks of a model family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from mmspec.core.request import Media, Prompt
    from mmspec.model.attend import Step


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the vision tower says of one picture.

    Attributes:
        embeds: [P, H], one row a placeholder token.
        deepstack: per early decoder layer, [P, H] to add there; empty for most families.
    """

    embeds: torch.Tensor
    deepstack: tuple[torch.Tensor, ...] = ()


class Family(Protocol):
    """The few things that differ between families; everything else is the target's.

    Attributes:
        decoder: the text decoder; takes embeddings, gives normed hidden states.
        axes: rotary axes, 1 or 3.
        media_tokens: placeholder token ids.
    """

    decoder: Any
    axes: int
    media_tokens: frozenset[int]

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., V] of normed hidden states [..., H]."""
        ...

    def encode(self, media: Media) -> Encoded:
        """Run the vision tower and projector on one picture."""
        ...

    def positions(self, prompt: Prompt) -> tuple[torch.Tensor, int]:
        """Rotary positions of a prompt, [P] or [3, P], and the shift of all that follows."""
        ...

    def deepstack(
        self, seen: torch.Tensor | None, features: tuple[torch.Tensor, ...] | None
    ) -> Mapping[str, object]:
        """Decoder keywords that bring picture features to its early layers."""
        ...


def decode(
    decoder: Any,
    embeds: torch.Tensor,
    positions: torch.Tensor,
    step: Step,
    extra: Mapping[str, object],
) -> torch.Tensor:
    """Run a decoder on packed rows [G, R, H] through our attention; normed states [G, R, H]."""
    return decoder(
        inputs_embeds=embeds, position_ids=positions, use_cache=False, step=step, **extra
    ).last_hidden_state
