"""A prepared prompt as transformers' own models take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from mmspec.core.request import Prompt


def model_inputs(
    prompt: Prompt, device: torch.device, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Keywords of ``generate``: ids and mask [1, P], and the pictures all in one.

    Our prompts hold the pictures one by one: tiles of differing number (LLaVA-NeXT) are filled up
    with zeros, as the model's own processor does; grids mean that the model also wants to know
    which tokens are pictures.
    """
    ids = torch.from_numpy(prompt.ids)[None].to(device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if not prompt.media:
        return inputs
    pixels = [media.inputs["pixel_values"].to(device, dtype) for media in prompt.media]
    if pixels[0].dim() == 5:  # [1, tiles, 3, H, W]
        tiles = max(part.shape[1] for part in pixels)
        pixels = [_filled(part, tiles) for part in pixels]
    inputs["pixel_values"] = torch.cat(pixels)
    for name in ("image_sizes", "image_grid_thw"):
        if name in prompt.media[0].inputs:
            inputs[name] = torch.cat([media.inputs[name] for media in prompt.media]).to(device)
    if "image_grid_thw" in inputs:
        kinds = torch.zeros_like(ids, dtype=torch.int32)
        for media in prompt.media:
            kinds[0, media.start : media.start + media.length] = 1
        inputs["mm_token_type_ids"] = kinds
    return inputs


def _filled(part: torch.Tensor, tiles: int) -> torch.Tensor:
    """Zero tiles after the picture's own, [1, tiles, 3, H, W]."""
    missing = part.new_zeros(1, tiles - part.shape[1], *part.shape[2:])
    return torch.cat([part, missing], 1)
