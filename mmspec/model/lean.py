"""A decoder in a few compiled passes, for models whose layers have the common shape.

Root-mean-square norm, rotary attention, gated SiLU: when a model's layers hold exactly these parts
and give the same numbers on trial rows, decoding and verification run here instead of through the
hundred small operators of the model's own layers. Prefill still runs those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmspec_kernels.attention import attend_stored
from mmspec_kernels.layout import TreeLayout
from mmspec_kernels.rows import add_norm, gated, rotate_store
from mmspec_kernels.stored import arithmetic, stored
from torch import nn

from mmspec.model.packed import FusedLead, PackedLinear

if TYPE_CHECKING:
    from mmspec.model.attend import Step

_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
_NORMS = {"q_norm", "k_norm"}
_MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: PackedLinear
    out: PackedLinear
    gate_up: PackedLinear
    down: PackedLinear
    before: np.ndarray  # [H], norm weights, arithmetic form
    between: np.ndarray  # [H]
    heads: np.ndarray  # [2, D] query and key norms, or [0, D]
    scale: float
    sliding: int | None


class LeanDecoder:
    """The decoder's own weights behind compiled passes. Make one with ``lean``."""

    def __init__(self, decoder: Any, kv_heads: int, dim: int) -> None:
        self._rotary = decoder.rotary_emb
        self._dtype = decoder.dtype
        self._kv_heads, self._dim = kv_heads, dim
        self._real, self._word = arithmetic(decoder.dtype)
        self._eps = float(_eps(decoder.norm))
        self._last = self._weights(decoder.norm)
        self._layers = [self._read(layer) for layer in decoder.layers]
        first = self._layers[0]
        self._inner = first.gate_up.out_features // 2
        self._group = first.qkv.out_features // dim // kv_heads - 2

    def __call__(
        self,
        embeds: torch.Tensor,
        positions: torch.Tensor,
        step: Step,
        watched: tuple[int, ...] = (),
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """Packed rows [G, R, H] to normed hidden states [G, R, H].

        Also the outputs [T, H] of the layers ``watched``, of rows that are not padding.
        """
        layout = step.layout
        assert isinstance(layout, TreeLayout)
        groups, rows, width = embeds.shape
        total, count = groups * rows, layout.count
        real, word = self._real, self._word
        # The rotary table is asked for in arithmetic form: its angles need the digits.
        wide = torch.float64 if real.dtype == np.float64 else torch.float32
        cos, sin = self._rotary(embeds.new_empty(0, dtype=wide), positions)
        angles = [part.reshape(total, -1).numpy() for part in (cos, sin)]
        # Padding rows, which come last, are multiplied by the weights and otherwise left alone.
        stream = embeds.reshape(total, width)[:count].clone()
        residual = stored(stream)
        kept: dict[int, torch.Tensor] = {}
        normed = embeds.new_zeros(groups, rows, width)
        inner = embeds.new_zeros(groups, rows, self._inner)
        query = embeds.new_zeros(self._kv_heads, total, self._group, self._dim)
        normed_rows = stored(normed).reshape(total, width)[:count]
        inner_rows = stored(inner).reshape(total, -1)[:count]
        delta = np.zeros_like(residual)
        for index, layer in enumerate(self._layers):
            add_norm(residual, delta, layer.before, self._eps, normed_rows, real, word)
            if index - 1 in watched:
                kept[index - 1] = stream.clone()
            store = step.store[index]
            rotate_store(
                stored(layer.qkv(normed)).reshape(total, -1)[:count], *angles, layer.heads,
                self._eps, layout.slots, stored(store[0]), stored(store[1]), stored(query),
                real, word,
            )  # fmt: skip
            if step.look is not None:
                step.look(index, query, layer.scale, layer.sliding)
            seen = attend_stored(query, store, layout, step.reading(layer.sliding), layer.scale)
            delta = stored(layer.out(seen.view(groups, rows, -1))).reshape(total, width)[:count]
            add_norm(residual, delta, layer.between, self._eps, normed_rows, real, word)
            both = stored(layer.gate_up(normed)).reshape(total, -1)[:count]
            gated(both, inner_rows, real, word)
            delta = stored(layer.down(inner)).reshape(total, width)[:count]
        add_norm(residual, delta, self._last, self._eps, normed_rows, real, word)
        if len(self._layers) - 1 in watched:
            kept[len(self._layers) - 1] = stream
        return normed, kept

    def _read(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        norms = np.zeros((0, self._dim), self._real.dtype)
        if hasattr(attention, "q_norm"):
            norms = np.stack([self._weights(attention.q_norm), self._weights(attention.k_norm)])
        return _Layer(
            qkv=attention.q_proj.linear,
            out=attention.o_proj,
            gate_up=mlp.gate_proj.linear,
            down=mlp.down_proj,
            before=self._weights(layer.input_layernorm),
            between=self._weights(layer.post_attention_layernorm),
            heads=norms,
            scale=float(attention.scaling),
            sliding=sliding_width(attention),
        )

    def _weights(self, norm: Any) -> np.ndarray:
        return norm.weight.data.to(torch.float64).numpy().astype(self._real.dtype)


def lean(decoder: Any, kv_heads: int, dim: int, axes: int) -> LeanDecoder | None:
    """The compiled form of a packed decoder, or None where its layers hold anything else."""
    if axes != 1 or decoder.device.type != "cpu" or not hasattr(decoder, "rotary_emb"):
        return None
    if decoder.dtype not in {torch.bfloat16, torch.float32, torch.float64}:
        return None
    # Gemma 3 keeps a rotary table for each kind of layer, under other names.
    turns = getattr(decoder.rotary_emb, "inv_freq", None)
    if turns is None or turns.shape[-1] * 2 != dim or not _plain_embedding(decoder):
        return None
    if not all(_common(layer) for layer in decoder.layers):
        return None
    return LeanDecoder(decoder, kv_heads, dim)


def _common(layer: Any) -> bool:
    """Whether a layer holds exactly the parts this file knows, with nothing learned besides."""
    if {name for name, _ in layer.named_children()} != _LAYER:
        return False
    attention = {name for name, _ in layer.self_attn.named_children()} - {"rotary_emb"}
    if attention not in (_ATTENTION, _ATTENTION | _NORMS):
        return False
    if {name for name, _ in layer.mlp.named_children()} != _MLP:
        return False
    fused = isinstance(layer.self_attn.q_proj, FusedLead) and isinstance(
        layer.mlp.gate_proj, FusedLead
    )
    silu = type(layer.mlp.act_fn).__name__ in {"SiLU", "SiLUActivation"}
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    return fused and silu and all(type(norm).__name__ in _PLAIN_NORMS for norm in norms)


# Norms whose weight multiplies as it is (Gemma's is added to one).
_PLAIN_NORMS = {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"}


def _plain_embedding(decoder: Any) -> bool:
    plain = type(decoder.norm).__name__ in _PLAIN_NORMS
    return plain and type(decoder.embed_tokens) is nn.Embedding


def sliding_width(attention: nn.Module) -> int | None:
    """How far back a layer sees: Mistral says so in its configuration, others on the layer."""
    everywhere = getattr(attention.config, "sliding_window", None)
    found: int | None = getattr(attention, "sliding_window", everywhere)
    return found


def _eps(norm: Any) -> float:
    eps: float = norm.variance_epsilon
    return eps
