"""The nano VLM: a plain Hugging Face LLaVA, how it grows deeper, and how it is written out."""

import copy
from pathlib import Path

import msgspec
import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mmspec.train.data.pictures import PATCH, SIDE
from mmspec.train.tokenizer import IMAGE


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of the model; every width is a multiple of 32."""

    vocabulary: int = 4096
    hidden: int = 256
    feed_forward: int = 704
    heads: int = 4
    kv_heads: int = 2
    layers: int = 4
    positions: int = 16384
    rope_base: float = 1e6
    vision_hidden: int = 128
    vision_feed_forward: int = 512
    vision_layers: int = 4
    vision_heads: int = 4


def vision_config(shape: Shape) -> CLIPVisionConfig:
    """The tower's configuration: 96 x 96 pixels, 36 patches and a class token."""
    return CLIPVisionConfig(
        hidden_size=shape.vision_hidden,
        intermediate_size=shape.vision_feed_forward,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=shape.vision_heads,
        image_size=SIDE,
        patch_size=PATCH,
    )


def build(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """A fresh model in bf16, drawn from torch's global generator."""
    text = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.hidden // shape.heads,
        max_position_embeddings=shape.positions,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_base},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(
        vision_config=vision_config(shape),
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    return LlavaForConditionalGeneration(config).to(torch.bfloat16)


def grow(
    model: LlavaForConditionalGeneration, layers: int, single: int = 0
) -> LlavaForConditionalGeneration:
    """The same function with more layers: each trained layer followed by silent copies of itself.

    A copy keeps its weights but for zeroed output projections, so it adds nothing until it learns.
    The first `single` layers get no copies.
    """
    old = model.config.text_config.num_hidden_layers
    if layers < old:
        raise ValueError(f"cannot grow {old} layers to {layers}")
    copied, wanted = old - single, layers - single
    sources = [*range(single), *(single + k * copied // wanted for k in range(wanted))]
    again = [place > 0 and sources[place - 1] == source for place, source in enumerate(sources)]
    return restack(model, list(zip(sources, again, strict=True)))


def restack(
    model: LlavaForConditionalGeneration, plan: list[tuple[int, bool]]
) -> LlavaForConditionalGeneration:
    """A model whose layers are copies of `model`'s: (source layer, silent) in order."""
    config = copy.deepcopy(model.config)
    config.text_config.num_hidden_layers = len(plan)
    if getattr(config.text_config, "layer_types", None):
        config.text_config.layer_types = None
    made = LlavaForConditionalGeneration(config).to(model.dtype)
    kept = model.state_dict()
    mark = "language_model.layers."
    state = {name: value for name, value in kept.items() if mark not in name}
    for place, (source, silent) in enumerate(plan):
        for name, value in kept.items():
            head, found, tail = name.partition(f"{mark}{source}.")
            if found:
                zero = silent and tail in ("self_attn.o_proj.weight", "mlp.down_proj.weight")
                state[f"{head}{mark}{place}.{tail}"] = torch.zeros_like(value) if zero else value
    made.load_state_dict(state, strict=True)
    return made


def language_parameters(model: LlavaForConditionalGeneration) -> dict[str, nn.Parameter]:
    """What the language stages train: all but the frozen tower, tied weights once."""
    return {name: value for name, value in model.named_parameters() if "vision_tower" not in name}


def processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Pictures to 96 x 96 in -1..1 (squeezed, not cropped), and 36 placeholders a picture."""
    half = [0.5, 0.5, 0.5]
    images = CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        image_mean=half,
        image_std=half,
        do_convert_rgb=True,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=tokenizer.chat_template,
        image_token=IMAGE,
        num_additional_image_tokens=1,
    )


def export(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Write weights (bf16 safetensors), configurations, tokenizer and processor."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=256,
    )
    model.save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
