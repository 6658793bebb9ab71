"""Qwen2.5-VL and Qwen3-VL: three rotary axes, and features for the early layers (DeepStack)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mmspec.model.families.family import Encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec.core.request import Media, Prompt

TYPES = frozenset({"qwen2_5_vl", "qwen3_vl"})


class QwenVlFamily:
    """Pictures of any size; their rows take positions on a (time, height, width) grid."""

    axes = 3

    def __init__(self, model: Any) -> None:
        self.decoder: Any = model.model.language_model
        self._image = int(model.config.image_token_id)
        # Videos are not served, but their placeholder must not be guessed either.
        self.media_tokens = frozenset({self._image, int(model.config.video_token_id)})
        self._model = model

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of the language head."""
        return self._model.lm_head(hidden)

    def encode(self, media: Media) -> Encoded:
        """Run the tower on one picture's patches."""
        device = self.decoder.device
        said = self._model.model.get_image_features(
            media.inputs["pixel_values"].to(device), media.inputs["image_grid_thw"].to(device)
        )
        dtype = self.decoder.dtype
        # Newer transformers nest DeepStack features per picture, older ones do not.
        layers = tuple(
            _joined(layer).to(dtype) for layer in getattr(said, "deepstack_features", None) or ()
        )
        return Encoded(torch.cat(tuple(said.pooler_output)).to(dtype), layers)

    def positions(self, prompt: Prompt) -> tuple[torch.Tensor, int]:
        """Grid positions [3, P] and how far text after the prompt is shifted."""
        if not prompt.media:
            return torch.arange(len(prompt.ids)).expand(3, -1), 0
        ids = torch.from_numpy(prompt.ids)[None]
        kinds = (ids == self._image).int()
        grids = torch.cat([media.inputs["image_grid_thw"] for media in prompt.media])
        positions, delta = self._model.model.get_rope_index(
            ids, image_grid_thw=grids, mm_token_type_ids=kinds
        )
        return positions[:, 0], int(delta.flatten()[0])

    def deepstack(
        self, seen: torch.Tensor | None, features: tuple[torch.Tensor, ...] | None
    ) -> Mapping[str, object]:
        """Which rows are placeholders, and what each early layer adds to them."""
        if not features:
            return {}
        return {"visual_pos_masks": seen, "deepstack_visual_embeds": list(features)}


def _joined(layer: torch.Tensor | tuple[torch.Tensor, ...] | list[torch.Tensor]) -> torch.Tensor:
    return torch.cat(tuple(layer)) if isinstance(layer, tuple | list) else layer
