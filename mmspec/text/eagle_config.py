"""The shape of a feature drafter's network, as its checkpoint states it."""

from __future__ import annotations

import math

import msgspec
import torch

from mmspec.core.errors import ConfigError


class Rope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rotary positions; ``llama3`` and ``linear`` stretch the slow turns.

    Attributes:
        kind: ``default``, ``linear`` or ``llama3``.
        theta: base of the frequencies.
        factor: how far a trained position reaches. low, high, original: llama3's own.
    """

    kind: str = "default"
    theta: float = 10_000.0
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192


class VoiceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every one-layer drafter has: its widths, its rotation, what it reads and says.

    Attributes:
        hidden: width of its states.
        target_hidden: the target's width, and that of its embeddings.
        heads, kv_heads, head_dim, intermediate: of its layer.
        vocabulary: the target's.
        draft_vocabulary: how many ids it can say; None: all.
        window: of how many tokens a slot reads the embedding: its newest, and those before it.
        final_norm: whether its head reads normed states.
        own_head, own_embedding: weights of its own instead of the target's.
        confidence: whether it foretells acceptance.
        context: most tokens of a text that it was made for; None: it does not say.
    """

    hidden: int
    target_hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    draft_vocabulary: int | None = None
    eps: float = 1e-6
    rope: Rope = Rope()
    window: int = 1
    final_norm: bool = True
    own_head: bool = True
    own_embedding: bool = False
    confidence: bool = False
    context: int | None = None

    @property
    def said(self) -> int:
        """Ids its head scores."""
        return self.vocabulary if self.draft_vocabulary is None else self.draft_vocabulary

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError("heads: a multiple of kv_heads")
        if not self.own_head and self.target_hidden != self.hidden:
            raise ValueError("the target's head reads states as wide as the target's")


class EagleConfig(VoiceConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One decoder layer over the target's features; ``VoiceConfig`` tells the rest.

    Attributes:
        layers: decoder layers of the target whose outputs it reads, as in ``Needs.layers``.
        wide: EAGLE-3's layer, whose attention reads embedding and state side by side; otherwise
            EAGLE-1's, where ``fc`` joins the two and no norm stands before attention.
        window: of how many tokens a wide layer reads the embedding: the slot's next, its own, and
            those before it. Published networks read one; with two, one layer can look up where
            its token stood before and copy what followed.
        input_norm: whether a narrow layer's attention reads a normed stream (MSD on Qwen2-VL).
        fc_bias, attention_bias, output_bias, mlp_bias: which linear layers have a bias.
        head_norms: whether queries and keys are normed before rotation (Qwen3's layer).
        norm_before_residual: the stream starts from the normed state (some ``speculators``).
        normed_features: it was trained on features after the target's final norm.
        parallel: k, tokens that one pass foretells: its MLP says k states (FLASH,
            arXiv:2505.12728).
    """

    layers: tuple[int, ...]
    wide: bool = True
    input_norm: bool = False
    fc_bias: bool = False
    attention_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_norms: bool = False
    norm_before_residual: bool = False
    normed_features: bool = False
    parallel: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers or min(self.layers) < 0:
            raise ValueError("layers: at least one decoder layer, counted from 0")
        if not self.wide and (len(self.layers) != 1 or self.target_hidden != self.hidden):
            raise ValueError("a narrow network reads one layer as wide as itself")
        if self.window < 1 or (self.window > 1 and not self.wide):
            raise ValueError("window: at least 1, and 1 for a narrow network")
        if self.parallel < 1:
            raise ValueError("parallel: at least 1")
        if self.input_norm and self.wide:
            raise ValueError("input_norm: a wide layer norms what it reads anyway")


def inverse_frequencies(config: VoiceConfig) -> torch.Tensor:
    """Radians a position, float32 [D / 2].

    Raises:
        ConfigError: a kind of rope that is not known.
    """
    rope, dim = config.rope, config.head_dim
    plain = 1.0 / rope.theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    if rope.kind == "default":
        return plain
    if rope.kind == "linear":
        return plain / rope.factor
    if rope.kind != "llama3":
        raise ConfigError(f"drafter: rope of kind {rope.kind!r} is not supported")
    # Turns over the original context: few are stretched in full, many not at all.
    turns = rope.original * plain / (2 * math.pi)
    kept = ((turns - rope.low) / (rope.high - rope.low)).clamp(0.0, 1.0)
    return plain * kept + plain / rope.factor * (1.0 - kept)
