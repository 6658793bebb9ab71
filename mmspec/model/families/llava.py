"""LLaVA-1.5 and LLaVA-NeXT: pictures become rows of the prompt's embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mmspec.model.families.family import Encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec.core.request import Media, Prompt

TYPES = frozenset({"llava", "llava_next"})


class LlavaFamily:
    """A vision tower and a projector beside an ordinary decoder; plain positions."""

    axes = 1

    def __init__(self, model: Any) -> None:
        self.decoder: Any = model.model.language_model
        self.media_tokens = frozenset({int(model.config.image_token_id)})
        self._model = model

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of the language head."""
        return self._model.lm_head(hidden)

    def encode(self, media: Media) -> Encoded:
        """Tower and projector; LLaVA-NeXT joins the tiles of one picture."""
        dtype, device = self.decoder.dtype, self.decoder.device
        inputs = {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in media.inputs.items()
        }
        features = self._model.model.get_image_features(**inputs).pooler_output
        return Encoded(torch.cat([part.flatten(0, -2) for part in features]).to(dtype))

    def positions(self, prompt: Prompt) -> tuple[torch.Tensor, int]:
        """Position is index."""
        return torch.arange(len(prompt.ids)), 0

    def deepstack(
        self, seen: torch.Tensor | None, features: tuple[torch.Tensor, ...] | None
    ) -> Mapping[str, object]:
        """Nothing to bring."""
        return {}
