"""Text-only causal language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mmspec.core.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec.core.request import Media, Prompt
    from mmspec.model.families.family import Encoded

TYPES = frozenset({"llama", "qwen2", "qwen3", "mistral", "gemma3_text", "phi3"})


class TextFamily:
    """Llama, Qwen2, Qwen3, Mistral, Gemma 3 (text), Phi-3: one decoder, one head."""

    axes = 1
    media_tokens: frozenset[int] = frozenset()

    def __init__(self, model: Any) -> None:
        self.decoder: Any = model.model
        self._model = model
        self._cap: float | None = getattr(model.config, "final_logit_softcapping", None)

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits, capped where the model caps them."""
        logits = self._model.lm_head(hidden)
        return logits if self._cap is None else torch.tanh(logits / self._cap) * self._cap

    def encode(self, media: Media) -> Encoded:
        """Refuse: there is no vision tower."""
        raise BadRequestError("this model does not accept images", "messages", "unsupported_image")

    def positions(self, prompt: Prompt) -> tuple[torch.Tensor, int]:
        """Position is index."""
        return torch.arange(len(prompt.ids)), 0

    def deepstack(
        self, seen: torch.Tensor | None, features: tuple[torch.Tensor, ...] | None
    ) -> Mapping[str, object]:
        """Nothing to bring."""
        return {}
