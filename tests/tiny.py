"""Tiny random models of every family, with prompts that go where mistakes hide.

Weights are drawn once a family and scaled so that greedy text varies; norms and biases are noisy,
so forgetting one shows. ``reference`` is the untouched model, ``target`` an independent copy.
"""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
import transformers as hf

from mmspec.core.request import Media, Prompt
from mmspec.model.target import Target

VOCABULARY, IMAGE = 160, 159
TEXT = ("llama", "qwen2", "qwen3", "mistral", "gemma3_text", "phi3")
SEEING = ("llava", "llava_next", "qwen2_5_vl", "qwen3_vl")
FAMILIES = (*TEXT, *SEEING)  # and "wide", a llama whose sums are long enough to round differently

_BODY = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0, "tie_word_embeddings": False,
}  # fmt: skip
_CLIP = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
    "image_size": 16, "patch_size": 4, "projection_dim": 16,
}  # fmt: skip
_MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
_YARN = {
    "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 128,
}  # fmt: skip
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
_HALF = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
_PLAIN = {name: value for name, value in _BODY.items() if name != "tie_word_embeddings"}


def config(name: str) -> hf.PretrainedConfig:
    """A fresh configuration; transformers shares and mutates them."""
    return copy.deepcopy(_configs()[name]())


def _configs():
    sight = {"image_token_id": IMAGE, "tie_word_embeddings": False}
    grids = [[16, 32], [32, 16], [32, 32], [16, 48]]
    qwen = {
        **sight,
        "video_token_id": 158,
        "vision_start_token_id": 157,
        "vision_end_token_id": 156,
    }
    return {
        "llama": lambda: hf.LlamaConfig(**_BODY, rope_parameters=_LLAMA3),
        "wide": lambda: hf.LlamaConfig(
            **{**_BODY, "hidden_size": 256, "intermediate_size": 4096, "num_hidden_layers": 2}
        ),
        "qwen2": lambda: hf.Qwen2Config(
            **{**_BODY, "tie_word_embeddings": True}, use_sliding_window=True, sliding_window=28,
            max_window_layers=2,
        ),
        "qwen3": lambda: hf.Qwen3Config(**_BODY, head_dim=24, rope_parameters=_YARN),
        "mistral": lambda: hf.MistralConfig(**_BODY, sliding_window=24),
        "gemma3_text": lambda: hf.Gemma3TextConfig(
            **_BODY, head_dim=16, sliding_window=20, query_pre_attn_scalar=10,
            final_logit_softcapping=9.0,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
        "phi3": lambda: hf.Phi3Config(
            **_BODY, sliding_window=30, rope_parameters=_HALF,
        ),
        "llava": lambda: hf.LlavaConfig(
            text_config=hf.LlamaConfig(**_BODY), vision_config=hf.CLIPVisionConfig(**_CLIP), **sight
        ),
        "llava_next": lambda: hf.LlavaNextConfig(
            text_config=hf.MistralConfig(**_BODY, sliding_window=None),
            vision_config=hf.CLIPVisionConfig(**_CLIP), image_grid_pinpoints=grids, **sight,
        ),
        "qwen2_5_vl": lambda: hf.Qwen2_5_VLConfig(
            text_config={**_PLAIN, "rope_parameters": dict(_MROPE)},
            vision_config={
                "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
                "patch_size": 4, "window_size": 16, "out_hidden_size": 64,
                "fullatt_block_indexes": [1],
            },
            **qwen,
        ),
        "qwen3_vl": lambda: hf.Qwen3VLConfig(
            text_config={
                **_PLAIN, "head_dim": 16, "rope_parameters": {**_MROPE, "mrope_interleaved": True},
            },
            vision_config={
                "depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
                "patch_size": 4, "out_hidden_size": 64, "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0, 1],
            },
            **qwen,
        ),
    }  # fmt: skip


@functools.cache
def reference(name: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The Hugging Face model, in eval mode. Shared: leave it as it is."""
    if dtype != torch.float32:
        return copy.deepcopy(reference(name)).to(dtype)
    torch.manual_seed(sum(name.encode()))
    kind = hf.AutoModelForImageTextToText if name in SEEING else hf.AutoModelForCausalLM
    model = kind.from_config(config(name)).float().eval()
    with torch.no_grad():
        for path, weight in model.named_parameters():
            if weight.dim() < 2:
                weight.add_(0.1 * torch.randn_like(weight))
            elif "embed" not in path:
                weight.normal_(0, 1.5 * math.sqrt(weight.shape[0] / weight.numel()))
            else:
                weight.normal_(0, 0.5)
        if name in SEEING:  # no text says a placeholder: transformers could not read it again
            model.lm_head.weight[150:] = 0
    return model


def target(
    name: str, numerics: str = "bitwise", dtype: torch.dtype = torch.float32, **options
) -> Target:
    """A target of our own with the same weights."""
    return Target(copy.deepcopy(reference(name, dtype)), numerics=numerics, **options)


@functools.cache
def prompts(name: str) -> tuple[Prompt, ...]:
    """Three prompts, short, middling and long; see the module."""
    draw = np.random.default_rng(sum(name.encode()))
    words = lambda count: draw.integers(1, 150, count)  # noqa: E731
    if name in TEXT:
        return tuple(Prompt(words(count)) for count in (3, 57, 121))
    sizes = _SIZES[name]
    apart = words(2) if name.startswith("qwen") else words(0)  # qwen never puts pictures together
    first, second, third = (_picture(name, index, size) for index, size in enumerate(sizes))
    return (
        _join([first, words(4)]),  # a picture first of all
        _join([words(9), third, words(33)]),
        _join([words(21), first, apart, second, words(30), third, words(24)]),  # across the chunks
    )


@dataclass(frozen=True)
class _Picture:
    length: int
    inputs: dict[str, torch.Tensor]


_SIZES = {
    "llava": [None] * 3,
    "llava_next": [(32, 30), (14, 40), (9, 16)],  # height, width in pixels: unpadded on one side
    "qwen2_5_vl": [(8, 12), (4, 6), (10, 4)],  # height, width in patches
    "qwen3_vl": [(8, 12), (4, 6), (10, 4)],
}


def _picture(name: str, index: int, size: tuple[int, int] | None) -> _Picture:
    draw = torch.Generator().manual_seed(index)
    if name.startswith("qwen"):
        grid = torch.tensor([[1, *size]])
        patches = torch.randn(int(grid.prod()), 3 * 2 * 4 * 4, generator=draw)
        length = int(grid.prod()) // 4
        return _Picture(length, {"pixel_values": patches, "image_grid_thw": grid})
    if name == "llava":
        return _Picture(16, {"pixel_values": torch.randn(1, 3, 16, 16, generator=draw)})
    sizes = torch.tensor([size])
    tiles = hf.models.llava_next.modeling_llava_next.image_size_to_num_patches(
        size, config(name).image_grid_pinpoints, 16
    )
    inputs = {
        "pixel_values": torch.randn(1, tiles, 3, 16, 16, generator=draw),
        "image_sizes": sizes,
    }
    with torch.inference_mode():
        said = reference(name).model.get_image_features(**inputs).pooler_output
    return _Picture(len(said[0]), inputs)


def _join(parts: list[np.ndarray | _Picture]) -> Prompt:
    ids: list[int] = []
    media: list[Media] = []
    for part in parts:
        if isinstance(part, _Picture):
            digest = f"{part.inputs['pixel_values'].sum():.9f}"
            media.append(Media(digest, len(ids), part.length, part.inputs))
            ids += [IMAGE] * part.length
        else:
            ids += part.tolist()
    return Prompt(np.array(ids, np.int64), tuple(media))


def model_inputs(name: str, prompt: Prompt, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The whole prompt as transformers wants it."""
    ids = torch.from_numpy(prompt.ids)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if not prompt.media:
        return inputs
    pixels = [media.inputs["pixel_values"].to(dtype) for media in prompt.media]
    if name == "llava_next":
        tiles = max(part.shape[1] for part in pixels)
        pixels = [
            torch.cat([p, p.new_zeros(1, tiles - p.shape[1], *p.shape[2:])], 1) for p in pixels
        ]
    inputs["pixel_values"] = torch.cat(pixels)
    for extra in ("image_sizes", "image_grid_thw"):
        if extra in prompt.media[0].inputs:
            inputs[extra] = torch.cat([media.inputs[extra] for media in prompt.media])
    if name.startswith("qwen"):
        inputs["mm_token_type_ids"] = (ids == IMAGE).int()
    return inputs


@functools.cache
def greedy(name: str, index: int, count: int = 40, dtype: torch.dtype = torch.float32) -> list[int]:
    """What transformers' own ``generate`` says after prompt ``index``."""
    prompt = prompts(name)[index]
    with torch.inference_mode():
        said = reference(name, dtype).generate(
            **model_inputs(name, prompt, dtype), do_sample=False, max_new_tokens=count
        )
    return said[0, len(prompt.ids) :].tolist()
