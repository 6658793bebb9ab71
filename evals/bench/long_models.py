"""Text targets of real shapes with random weights, drawn on the device itself in bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from mmspec.model.target import Target

if TYPE_CHECKING:
    from transformers import PretrainedConfig

POSITIONS = 1 << 19  # more than any context here: what stretches them costs nothing in a step


def llama_8b(*, tiny: bool) -> LlamaConfig:
    """Llama-3.1-8B's shape, with plain rotation."""
    if tiny:
        return _llama(160, 64, 96, layers=4, heads=4, kv_heads=2)
    return _llama(128256, 4096, 14336, layers=32, heads=32, kv_heads=8)


def llama_1b(*, tiny: bool) -> LlamaConfig:
    """Llama-3.2-1B's: what reads excerpts; its head is its embedding."""
    if tiny:
        return _llama(160, 32, 64, layers=2, heads=4, kv_heads=2, tied=True)
    return _llama(128256, 2048, 8192, layers=16, heads=32, kv_heads=8, tied=True)


def random_target(
    spec: PretrainedConfig, device: torch.device, numerics: Literal["bitwise", "near-tie"],
    seed: int,
) -> tuple[Target, int]:  # fmt: skip
    """The target, and the bytes of weights that one step of it reads."""
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(spec, dtype=torch.bfloat16)
    read = (*model.model.layers.parameters(), *model.lm_head.parameters())
    size = sum(weight.numel() * weight.itemsize for weight in read)
    return Target(model, numerics=numerics), size


def _llama(
    words: int, hidden: int, inner: int, *, layers: int, heads: int, kv_heads: int,
    tied: bool = False,
) -> LlamaConfig:  # fmt: skip
    return LlamaConfig(
        vocab_size=words, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=hidden // heads,
        max_position_embeddings=POSITIONS, rms_norm_eps=1e-5, tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 5e5},
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
