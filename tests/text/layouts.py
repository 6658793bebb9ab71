"""Random checkpoints in the layouts that others publish, and their formulas written out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY, HIDDEN, HEADS, KV_HEADS, DIM, INNER, SAID = 160, 64, 4, 2, 24, 96, 48


@dataclass(frozen=True)
class Layout:
    """Tensors by their published names, and config.json."""

    tensors: dict[str, torch.Tensor]
    config: dict[str, object]

    def write(self, folder: Path, *, binary: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        if binary:
            torch.save(self.tensors, folder / "pytorch_model.bin")
        else:
            save_file(self.tensors, folder / "model.safetensors")
        return folder


def _layer(prefix: str, read: int, draw: torch.Generator, norms: tuple[str, ...]):
    shapes = {
        "self_attn.q_proj": (HEADS * DIM, read), "self_attn.k_proj": (KV_HEADS * DIM, read),
        "self_attn.v_proj": (KV_HEADS * DIM, read), "self_attn.o_proj": (HIDDEN, HEADS * DIM),
        "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }  # fmt: skip
    tensors = {
        f"{prefix}.{name}.weight": torch.randn(shape, generator=draw) * shape[1] ** -0.5
        for name, shape in shapes.items()
    }
    return tensors | {f"{prefix}.{name}.weight": _norm(draw) for name in norms}


def _norm(draw: torch.Generator) -> torch.Tensor:
    return 1 + 0.3 * torch.randn(HIDDEN, generator=draw)


_LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": DIM,
    "intermediate_size": INNER, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-5,
    "rope_theta": 50_000.0, "num_hidden_layers": 1,
}  # fmt: skip


def eagle1(*, bias: bool = True) -> Layout:
    """EAGLE-1 and 2: no norm before attention, the target's head, an embedding of its own."""
    draw = torch.Generator().manual_seed(1)
    tensors = _layer("layers.0", HIDDEN, draw, ("post_attention_layernorm",))
    tensors["fc.weight"] = torch.randn(HIDDEN, 2 * HIDDEN, generator=draw) * 0.1
    if bias:
        tensors["fc.bias"] = torch.randn(HIDDEN, generator=draw) * 0.1
    tensors["embed_tokens.weight"] = torch.randn(VOCABULARY, HIDDEN, generator=draw)
    return Layout(tensors, dict(_LLAMA))


def eagle3(prefix: str = "midlayer") -> Layout:
    """EAGLE-3: a wide layer, three fused features, a reduced head, the target's embedding."""
    draw = torch.Generator().manual_seed(3)
    norms = ("hidden_norm", "input_layernorm", "post_attention_layernorm")
    tensors = _layer(prefix, 2 * HIDDEN, draw, norms)
    tensors["fc.weight"] = torch.randn(HIDDEN, 3 * HIDDEN, generator=draw) * 0.1
    tensors["norm.weight"] = _norm(draw)
    tensors["lm_head.weight"] = torch.randn(SAID, HIDDEN, generator=draw)
    kept = torch.randperm(VOCABULARY, generator=draw)[:SAID].sort().values
    tensors["d2t"] = kept - torch.arange(SAID)
    tensors["t2d"] = torch.zeros(VOCABULARY, dtype=torch.bool)
    tensors["t2d"][kept] = True
    return Layout(tensors, {**_LLAMA, "draft_vocab_size": SAID})


def speculators(*, early: bool = False) -> Layout:
    """``speculators``: EAGLE-3 by other names, its layer's settings nested, its layers told."""
    layout = eagle3("layers.0")
    embedding = torch.randn(VOCABULARY, HIDDEN, generator=torch.Generator().manual_seed(5))
    config = {
        "speculators_model_type": "eagle3", "draft_vocab_size": SAID,
        "norm_before_residual": early, "eagle_aux_hidden_state_layer_ids": [1, 2, 3],
        "transformer_layer_config": dict(_LLAMA),
    }  # fmt: skip
    return Layout(layout.tensors | {"embed_tokens.weight": embedding}, config)


def _rms(x, weight, eps=1e-5):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def _turn(x, theta=50_000.0):
    """Rotate [S, heads, D] as complex numbers, position by position."""
    half = x.shape[-1] // 2
    pairs = x[..., :half] + 1j * x[..., half:]
    speed = theta ** (-np.arange(half) / half)
    pairs = pairs * np.exp(1j * np.arange(len(x))[:, None, None] * speed)
    return np.concatenate([pairs.real, pairs.imag], -1)


def _attention(weights, prefix, read):
    q, k, v = (read @ weights[f"{prefix}.self_attn.{n}_proj.weight"].T for n in "qkv")
    q, k, v = (part.reshape(len(read), -1, DIM) for part in (q, k, v))
    q, k = _turn(q), _turn(k)
    out = np.zeros((len(read), HEADS, DIM))
    for slot in range(len(read)):
        for head in range(HEADS):
            mine = head // (HEADS // KV_HEADS)
            scores = k[: slot + 1, mine] @ q[slot, head] / np.sqrt(DIM)
            shares = np.exp(scores - scores.max())
            out[slot, head] = shares / shares.sum() @ v[: slot + 1, mine]
    return out.reshape(len(read), -1) @ weights[f"{prefix}.self_attn.o_proj.weight"].T


def _mlp(weights, prefix, x):
    gate = x @ weights[f"{prefix}.mlp.gate_proj.weight"].T
    up = x @ weights[f"{prefix}.mlp.up_proj.weight"].T
    return (gate / (1 + np.exp(-gate)) * up) @ weights[f"{prefix}.mlp.down_proj.weight"].T


def formulas(layout: Layout, embeds, features) -> tuple[np.ndarray, np.ndarray]:
    """Every slot's state, and what the head reads of it: [S, H]; embeds [S, H], features F such."""
    weights = {name: value.double().numpy() for name, value in layout.tensors.items()}
    prefix = "midlayer" if "midlayer.hidden_norm.weight" in weights else "layers.0"
    between = weights[f"{prefix}.post_attention_layernorm.weight"]
    if "fc.bias" in weights or weights["fc.weight"].shape[1] == 2 * HIDDEN:
        joined = np.concatenate([embeds, features[0]], -1) @ weights["fc.weight"].T
        stream = joined + weights.get("fc.bias", 0)
        stream = stream + _attention(weights, prefix, stream)
        stream = stream + _mlp(weights, prefix, _rms(stream, between))
        return stream, stream
    stream = np.concatenate(features, -1) @ weights["fc.weight"].T
    normed = _rms(stream, weights[f"{prefix}.hidden_norm.weight"])
    read = np.concatenate([_rms(embeds, weights[f"{prefix}.input_layernorm.weight"]), normed], -1)
    stream = normed if layout.config.get("norm_before_residual") else stream
    stream = stream + _attention(weights, prefix, read)
    stream = stream + _mlp(weights, prefix, _rms(stream, between))
    return stream, _rms(stream, weights["norm.weight"])
