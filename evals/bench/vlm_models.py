"""Vision-language targets of real shapes with random weights, and prompts for them.

Weights are drawn on the device itself in bfloat16, so a model of seven billion never stands in the
processor's memory. Costs do not depend on what weights say; acceptance does, and is not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    Qwen2_5_VLConfig,
)

from mmspec.core.request import Media, Prompt
from mmspec.model.target import Target

if TYPE_CHECKING:
    from transformers import PretrainedConfig

BEFORE = 12  # tokens of text before the picture


@dataclass(frozen=True)
class Plan:
    """A target's shape and one picture of its own.

    Attributes:
        spec: configuration of the whole model.
        image: placeholder id; ids below ``words`` are text.
        picture: placeholders of a picture. pixels: shapes of what the tower reads.
        grid: Qwen's grid of patches; None for towers without one.
        said: ids that our drafters can say.
        biased: whether the published narrow drafter has biases in attention and reader (its
            authors' for Qwen have, those for LLaVA have not).
    """

    spec: PretrainedConfig
    image: int
    words: int
    picture: int
    pixels: tuple[int, ...]
    grid: tuple[int, int, int] | None
    said: int
    biased: bool

    def prompt(self, length: int, index: int) -> Prompt:
        """A picture of noise within random text, ``length`` tokens in all."""
        draw = np.random.default_rng(index)
        ids = draw.integers(10, self.words, length)
        if BEFORE + self.picture >= length:
            raise ValueError(f"a picture of {self.picture} tokens needs a longer prompt")
        ids[BEFORE : BEFORE + self.picture] = self.image
        noise = torch.Generator().manual_seed(index)
        inputs = {"pixel_values": torch.randn(self.pixels, generator=noise)}
        if self.grid is not None:
            inputs["image_grid_thw"] = torch.tensor([self.grid])
        return Prompt(ids, (Media(f"noise {index}", BEFORE, self.picture, inputs),))


def llava(*, tiny: bool) -> Plan:
    """LLaVA-1.5-7B: Vicuna behind CLIP's ViT-L/14 at 336 pixels, 576 tokens a picture.

    Positions reach 8,192 and not 4,096, so that trees fit behind a context of 4K.
    """
    body = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    if tiny:
        text = LlamaConfig(
            vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=8,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=1024, **body,
        )  # fmt: skip
        tower = CLIPVisionConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
            image_size=16, patch_size=4, projection_dim=16,
        )  # fmt: skip
        image, words, picture, side, said = 159, 150, 16, 16, 96
    else:
        text = LlamaConfig(
            vocab_size=32064, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
            num_attention_heads=32, num_key_value_heads=32, max_position_embeddings=8192,
            rms_norm_eps=1e-5, **body,
        )  # fmt: skip
        tower = CLIPVisionConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
            num_attention_heads=16, image_size=336, patch_size=14, projection_dim=768,
        )  # fmt: skip
        image, words, picture, side, said = 32000, 32000, 576, 336, 32000
    spec = LlavaConfig(
        text_config=text, vision_config=tower, image_token_id=image, tie_word_embeddings=False
    )
    return Plan(spec, image, words, picture, (1, 3, side, side), None, said, biased=False)


def qwen(*, tiny: bool) -> Plan:
    """Qwen2.5-VL-7B, with a picture of 868 by 896 pixels: 992 tokens."""
    rope = {"rope_type": "default", "rope_theta": 1e6}
    if tiny:
        text: dict[str, Any] = {
            "vocab_size": 160, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
            "rope_parameters": {**rope, "mrope_section": [2, 3, 3]},
        }  # fmt: skip
        tower = {
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "patch_size": 4, "window_size": 16, "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        }  # fmt: skip
        image, words, grid, side, said = 159, 150, (1, 8, 12), 4, 96
    else:
        text = {
            "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
            "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
            "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
            "rope_parameters": {**rope, "mrope_section": [16, 24, 24]},
        }  # fmt: skip
        tower = {
            "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
            "patch_size": 14, "window_size": 112, "out_hidden_size": 3584,
            "fullatt_block_indexes": [7, 15, 23, 31],
        }  # fmt: skip
        image, words, grid, side, said = 151655, 151000, (1, 62, 64), 14, 32000
    text |= {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    spec = Qwen2_5_VLConfig(
        text_config=text, vision_config=tower, image_token_id=image, video_token_id=image - 1,
        vision_start_token_id=image - 3, vision_end_token_id=image - 2, tie_word_embeddings=False,
    )  # fmt: skip
    patches = int(np.prod(grid))
    pixels = (patches, 3 * 2 * side * side)
    return Plan(spec, image, words, patches // 4, pixels, grid, said, biased=True)


PLANS = {"llava-1.5-7b": llava, "qwen2.5-vl-7b": qwen}


def random_target(
    plan: Plan, device: torch.device, numerics: Literal["bitwise", "near-tie"], seed: int
) -> tuple[Target, int]:
    """The target, and the bytes of weights that one step of it reads."""
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(plan.spec, dtype=torch.bfloat16)
    read = (*model.model.language_model.layers.parameters(), *model.lm_head.parameters())
    size = sum(weight.numel() * weight.itemsize for weight in read)
    return Target(model, numerics=numerics), size
