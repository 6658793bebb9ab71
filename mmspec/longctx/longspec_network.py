"""The network of a drafter of bounded memory (LongSpec, arXiv:2502.17421).

Slot s stands for token s + 1 and foretells token s + 2. Its first attention reads keys and values
that are functions of token ids and places alone; its second those that the target has cached.
With ``features`` the stream begins with a state: fused features of token s where they are known,
else what the network said one slot before. Without, it begins with the token's embedding.

A window of W tokens shows a slot the embeddings of token s + 1 and of the W - 1 before it.

Axes: B rows, S slots, W window, H hidden, E the target's hidden, D head dimension, C that of the
target's keys. Tokens are int64 [B, S, W], latest first, or [B, S] where the window is 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmspec.text.voice import Voice, rotate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.longctx.longspec_config import LongspecConfig

Angles = tuple[Tensor, Tensor]


class LongspecNetwork(Voice):
    """Weights and formulas; who sees whom is the caller's affair.

    Training and decoding call the same parts: :meth:`fuse`, :meth:`begin`, :meth:`keys`, a first
    attention, :meth:`ask`, a second, :meth:`finish`.
    """

    def __init__(self, config: LongspecConfig) -> None:
        super().__init__()
        self.config = config
        hidden, dim, eps, bias = config.hidden, config.head_dim, config.eps, config.attention_bias
        shown, known = config.window * config.target_hidden, bool(config.features)
        asked = config.cross_heads * config.target_head_dim
        fused = len(config.features) * config.target_hidden
        self.fc = nn.Linear(fused, hidden, bias=False) if known else None
        self.embedding_norm = nn.RMSNorm(config.target_hidden, eps)
        self.state_norm: nn.Module = nn.RMSNorm(hidden, eps) if known else nn.Identity()
        read = shown + hidden if known else shown
        self.q_proj = nn.Linear(read, config.heads * dim, bias=bias)
        self.k_proj = nn.Linear(shown, config.kv_heads * dim, bias=bias)
        self.v_proj = nn.Linear(shown, config.kv_heads * dim, bias=bias)
        self.o_proj = nn.Linear(config.heads * dim, hidden, bias=False)
        self.cross_norm = nn.RMSNorm(hidden, eps)
        self.cross_q = nn.Linear(shown + hidden if config.direct else hidden, asked, bias=bias)
        self.cross_o = nn.Linear(asked, hidden, bias=False)
        self.between_norm = nn.RMSNorm(hidden, eps)
        self.gate_proj = nn.Linear(hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, hidden, bias=False)
        self.give_voice(config)

    @property
    def parallel(self) -> int:
        """How many states it says at a slot."""
        return 1

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        """The watched layers' true features, each [..., E], as a state [..., H]."""
        if self.fc is None:
            raise RuntimeError("this network reads no features")
        return self.fc(torch.cat(list(features), -1))

    def shown(self, tokens: Tensor) -> Tensor:
        """Normed embeddings of the slots' windows, [B, S, W E]."""
        embeds = self.embed(tokens).to(self.k_proj.weight.dtype)
        normed = self.embedding_norm(embeds)
        return normed.flatten(-2) if self.config.window > 1 else normed

    def begin(
        self, tokens: Tensor, shown: Tensor, states: Tensor | None, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The stream [B, S, H] as it begins, and rotated queries [B, S, heads, D].

        Args:
            tokens: the slots' windows. shown: what :meth:`shown` gives for them.
            states: [B, S, H]; None where the network reads no features.
            positions: int64 [B, S], places of the slots' tokens.
        """
        if states is None:
            latest = tokens[..., 0] if self.config.window > 1 else tokens
            stream, read = self.embed(latest).to(shown.dtype), shown
        else:
            stream, read = states, torch.cat([shown, self.state_norm(states).to(shown.dtype)], -1)
        query = self.q_proj(read).unflatten(-1, (-1, self.config.head_dim))
        return stream, rotate(query, *self.angles(positions))

    def keys(self, shown: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Rotated keys and values [B, S, kv heads, D] of slots, of their windows alone."""
        split = (-1, self.config.head_dim)
        key = self.k_proj(shown).unflatten(-1, split)
        return rotate(key, *self.angles(positions)), self.v_proj(shown).unflatten(-1, split)

    def ask(
        self, shown: Tensor, stream: Tensor, attended: Tensor, angles: Angles
    ) -> tuple[Tensor, Tensor]:
        """The stream after the first attention, and queries [B, S, cross heads, C] to the target.

        Args:
            attended: [B, S, heads, D]. angles: the target's, at the slots' tokens, [B, S, C] each.
        """
        stream = stream + self.o_proj(attended.flatten(-2))
        read = self.cross_norm(stream).to(shown.dtype)
        read = torch.cat([shown, read], -1) if self.config.direct else read
        query = self.cross_q(read).unflatten(-1, (-1, self.config.target_head_dim))
        return stream, rotate(query, *angles)

    def finish(self, stream: Tensor, seen: Tensor) -> Tensor:
        """The next slot's state [B, S, H], from attention [B, S, cross heads, C] to the target."""
        stream = stream + self.cross_o(seen.flatten(-2))
        inner = self.between_norm(stream)
        return stream + self.down_proj(F.silu(self.gate_proj(inner)) * self.up_proj(inner))
