"""The one-layer network of a feature drafter (EAGLE, arXiv:2401.15077; EAGLE-3, arXiv:2503.01840).

Slot s pairs what is known of token s (the target's features, or the state the network said one
slot before) with the embedding of token s + 1; its state foretells token s + 2.

A window of W tokens shows a slot the embeddings of token s + 1 and of the W - 1 before it.

A network that is k parallel (FLASH, arXiv:2505.12728) says k states at a slot, from one attention
and one MLP: state j foretells token s + 2 + j, and stands for the feature of token s + 1 + j.

Axes: B rows, S slots, W window, H hidden, E the target's hidden, D head dimension, V its
vocabulary, k states of a slot, an axis that is not there where k is 1.
Tokens are int64 [B, S, W], latest first, or [B, S] where the window is 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmspec.text.voice import Voice, rotate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.text.eagle_config import EagleConfig


class EagleNetwork(Voice):
    """Weights and formulas; who sees whom is the caller's affair.

    Training and decoding call the same parts: :meth:`fuse`, :meth:`project`, the caller's own
    attention, :meth:`finish`; :meth:`forward` is all of them over dense causal rows.
    """

    def __init__(self, config: EagleConfig) -> None:
        super().__init__()
        self.config = config
        hidden, dim, eps = config.hidden, config.head_dim, config.eps
        outer, inner = config.target_hidden, config.intermediate
        heads, kv_heads, bias = config.heads * dim, config.kv_heads * dim, config.attention_bias
        if config.wide:
            self.fc = nn.Linear(len(config.layers) * outer, hidden, bias=config.fc_bias)
            self.embedding_norm: nn.Module = nn.RMSNorm(outer, eps)
            self.state_norm: nn.Module = nn.RMSNorm(hidden, eps)
            read = config.window * outer + hidden
        else:
            self.fc = nn.Linear(outer + hidden, hidden, bias=config.fc_bias)
            self.embedding_norm = nn.Identity()
            self.state_norm = nn.RMSNorm(hidden, eps) if config.input_norm else nn.Identity()
            read = hidden
        self.q_proj = nn.Linear(read, heads, bias=bias)
        self.k_proj = nn.Linear(read, kv_heads, bias=bias)
        self.v_proj = nn.Linear(read, kv_heads, bias=bias)
        self.q_norm: nn.Module = nn.RMSNorm(dim, eps) if config.head_norms else nn.Identity()
        self.k_norm: nn.Module = nn.RMSNorm(dim, eps) if config.head_norms else nn.Identity()
        self.o_proj = nn.Linear(heads, hidden, bias=config.output_bias)
        self.between_norm = nn.RMSNorm(hidden, eps)
        self.gate_proj = nn.Linear(hidden, inner, bias=config.mlp_bias)
        self.up_proj = nn.Linear(hidden, inner, bias=config.mlp_bias)
        self.down_proj = nn.Linear(inner, config.parallel * hidden, bias=config.mlp_bias)
        self.give_voice(config)

    @property
    def parallel(self) -> int:
        """How many states it says at a slot."""
        return self.config.parallel

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        """The watched layers' true features, each [..., E], as a state [..., H]."""
        if self.config.wide:
            return self.fc(torch.cat(list(features), -1))
        if not self.config.normed_features:
            return features[0]
        return self.lent_norm(features[0])

    def project(
        self, tokens: Tensor, states: Tensor, positions: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries [B, S, heads, D], rotated keys and values [B, S, kv heads, D].

        Args:
            tokens: the slots' windows. states: [B, S, H].
            positions: int64 [B, S], index of the token whose feature a slot holds.
            bias: [B, S, H], added to what the layer's stream begins with.
        """
        read = self._input(tokens, states, bias)
        read = read if self.config.wide else self.state_norm(read)
        split = (-1, self.config.head_dim)
        query, key, value = (
            layer(read).unflatten(-1, split) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        cos, sin = self.angles(positions)
        return rotate(self.q_norm(query), cos, sin), rotate(self.k_norm(key), cos, sin), value

    def finish(
        self, tokens: Tensor, states: Tensor, attended: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """The next slots' states [B, S, k, H], or [B, S, H], from attention [B, S, heads, D]."""
        if not self.config.wide:
            states = self._input(tokens, states, bias)
        else:
            states = states if bias is None else states + bias
            states = self.state_norm(states) if self.config.norm_before_residual else states
        states = states + self.o_proj(attended.flatten(-2))
        inner = self.between_norm(states)
        said = self.down_proj(F.silu(self.gate_proj(inner)) * self.up_proj(inner))
        if self.config.parallel == 1:
            return states + said
        return states.unsqueeze(-2) + said.unflatten(-1, (self.config.parallel, -1))

    def forward(self, tokens: Tensor, states: Tensor, positions: Tensor) -> Tensor:
        """All slots in one causal pass: states [B, S, H] to what :meth:`finish` says."""
        query, key, value = self.project(tokens, states, positions)
        attended = F.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2),
            is_causal=True, enable_gqa=self.config.heads != self.config.kv_heads,
        )  # fmt: skip
        return self.finish(tokens, states, attended.transpose(1, 2))

    def _input(self, tokens: Tensor, states: Tensor, bias: Tensor | None) -> Tensor:
        """What attention reads: [B, S, W E + H], or [B, S, H] where ``fc`` joins the two."""
        embeds = self.embed(tokens).to(states.dtype)
        if self.config.wide:
            states = states if bias is None else states + bias
            read = self.embedding_norm(embeds)
            read = read.flatten(-2) if self.config.window > 1 else read
            return torch.cat([read, self.state_norm(states)], -1)
        joined = self.fc(torch.cat([embeds, states], -1))
        return joined if bias is None else joined + bias
