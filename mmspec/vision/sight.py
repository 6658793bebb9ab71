"""What a drafter keeps of a picture: a few tokens to attend to, and a vector that stays.

Three ways: learned queries over the picture's tokens (ViSpec, arXiv:2509.15235; ours also reads
the target's features of them), latents that weigh those features (FLASH, arXiv:2505.12728), and
the projected embeddings as they are (MSD, arXiv:2505.14260).

Axes: P pictures, L tokens of the longest, m kept tokens, E the target's width, H the drafter's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from mmspec.text.eagle_config import EagleConfig


class SightConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How pictures are seen.

    Attributes:
        how: ``resample`` by learned queries, ``latent``: FLASH's, ``keep``: MSD's, every token's
            projected embedding; ``none``: no tokens of them.
        tokens: m, for the first two; of a smaller picture, as many as it has.
        glance: whether a vector of each picture is added to all that follows it.
        keys: what the queries read of a picture: projected embeddings, the target's features at
            its places, or both.
        compact: whether later positions count the drafter's own slots and not the text's tokens.
        plain: ViSpec's own reader: embeddings without a norm, and the latest picture's vector.
        key_bias: whether keys and values of embeddings have biases.
        orders: so many pictures of a request are also known by their place among its pictures,
            "the second", the last of them for all that follow; 0: by what they show alone.
    """

    how: Literal["resample", "latent", "keep", "none"] = "resample"
    tokens: int = 1
    glance: bool = True
    keys: Literal["embeds", "features", "both"] = "both"
    compact: bool = False
    plain: bool = False
    key_bias: bool = False
    orders: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 0 or (self.how == "none") != (self.tokens == 0 and self.how != "keep"):
            raise ValueError("tokens: at least 1 where pictures are compressed, 0 where not seen")
        if self.plain and (self.how not in {"resample", "none"} or self.keys != "embeds"):
            raise ValueError("plain: ViSpec's reader resamples embeddings")
        if self.orders < 0 or (self.orders and (self.plain or not self.glance)):
            raise ValueError("orders: of vectors that are chosen from, and at least 0")


class Seen(NamedTuple):
    """Of every picture: tokens [P, m, H], and the vector that stays [P, H] or None."""

    tokens: Tensor
    glance: Tensor | None


class Sight(nn.Module):
    """Reads pictures once, after the target has."""

    def __init__(self, config: EagleConfig, sight: SightConfig) -> None:
        super().__init__()
        self.config = sight
        hidden, outer, dim = config.hidden, config.target_hidden, config.head_dim
        self._heads, self._dim, self.eps, self.hidden = config.heads, dim, config.eps, hidden
        wide = config.heads * dim
        queries = sight.tokens * (sight.how == "resample") + sight.glance
        if sight.how == "latent":
            self.latents = nn.Parameter(torch.randn(sight.tokens, hidden) * hidden**-0.5)
        if queries:
            self.query = nn.Parameter(torch.randn(queries, config.heads, dim) * dim**-0.5)
            self.o_proj = nn.Linear(wide, hidden, bias=False)
        if queries and sight.keys != "features":
            self.embed_norm = nn.Identity() if sight.plain else nn.RMSNorm(outer, config.eps)
            self.k_proj = nn.Linear(outer, wide, bias=sight.key_bias)
            self.v_proj = nn.Linear(outer, wide, bias=sight.key_bias)
        if queries and sight.keys != "embeds":
            self.feature_norm = nn.RMSNorm(hidden, config.eps)
            self.k_feature = nn.Linear(hidden, wide, bias=False)
            self.v_feature = nn.Linear(hidden, wide, bias=False)
        if queries and sight.keys == "both":
            # Closed at first: it begins as ViSpec's reader of embeddings.
            self.gates = nn.Parameter(torch.zeros(2))
        if sight.glance:  # nothing is added at first
            self.lean = nn.Linear(hidden, hidden, bias=False)
            nn.init.zeros_(self.lean.weight)
        if sight.glance and not sight.plain:
            self.choose = nn.Linear(hidden, hidden, bias=False)
            nn.init.zeros_(self.choose.weight)
        if sight.orders:
            self.order = nn.Parameter(torch.zeros(sight.orders, hidden))

    def forward(self, embeds: Tensor, features: Tensor, real: Tensor) -> Seen:
        """Look at pictures.

        Args:
            embeds: [P, L, E], projected. features: [P, L, H], the fused ones at their places.
            real: bool [P, L], False on padding; a picture's tokens stand at its end.
        """
        told = self._told(embeds, features, real)
        glance = self.lean(told[:, -1:])[:, 0] if self.config.glance else None
        how = self.config.how
        if how == "keep":
            return Seen(embeds, glance)
        if how == "latent":
            scores = torch.einsum("mh,plh->pml", self.latents, features)
            shares = scores.masked_fill(~real[:, None], -torch.inf).softmax(-1)
            return Seen(shares @ features, glance)
        return Seen(told[:, : self.config.tokens if how == "resample" else 0], glance)

    def remember(self, glance: Tensor, place: Tensor) -> Tensor:
        """Vectors [P, H] as they are kept, [P, 2, H]: each with the key it is chosen by.

        Args:
            place: int64 [P], a picture's number among those of its request, from 0.
        """
        key = glance if self.config.plain else glance @ self.choose.weight
        if self.config.orders:
            key = key + self.order[place.clamp_max(self.config.orders - 1)].to(key.dtype)
        return torch.stack([glance, key], -2)

    def bias(self, states: Tensor, bank: Tensor, begun: Tensor) -> Tensor:
        """What is added to rows [..., T, H], of the pictures that came before each.

        One picture adds its vector; of several the row's state chooses, evenly at first. (ViSpec
        takes the latest alone, which forgets the others.)

        Args:
            bank: [..., N, 2, H], what is remembered. begun: bool [..., T, N], which came before.
        """
        vectors, keys = bank.unbind(-2)
        if vectors.shape[-2] == 1:  # nothing to choose
            return torch.where(begun, vectors, 0)
        if self.config.plain:
            place = torch.arange(1, vectors.shape[-2] + 1, device=bank.device)
            latest = (begun * place).argmax(-1, keepdim=True)
            shares = torch.zeros_like(begun, dtype=vectors.dtype).scatter_(-1, latest, 1)
        else:
            scores = states @ keys.to(states.dtype).mT * vectors.shape[-1] ** -0.5
            shares = scores.masked_fill(~begun, -torch.inf).softmax(-1)
        # Where none came before, there is no number.
        return torch.where(begun, shares, 0).to(vectors.dtype) @ vectors

    def _told(self, embeds: Tensor, features: Tensor, real: Tensor) -> Tensor:
        """What the queries say of each picture, [P, queries, H]."""
        if not hasattr(self, "query"):
            return embeds.new_zeros(len(embeds), 0, features.shape[-1])
        split = (self._heads, self._dim)
        mixed = self._mixed(embeds, features)
        keys, values = (part.unflatten(-1, split).transpose(1, 2) for part in mixed)
        query = self.query.transpose(0, 1).expand(len(embeds), -1, -1, -1).to(keys.dtype)
        mask = real[:, None, None].expand(-1, 1, query.shape[2], -1)
        seen = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        return self.o_proj(seen.transpose(1, 2).flatten(2))

    def _mixed(self, embeds: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [P, L, heads D] of the two streams."""
        if self.config.keys == "features":
            inner = self.feature_norm(features)
            return self.k_feature(inner), self.v_feature(inner)
        outer = self.embed_norm(embeds)
        keys, values = self.k_proj(outer), self.v_proj(outer)
        if self.config.keys == "embeds":
            return keys, values
        inner = self.feature_norm(features)
        key_gate, value_gate = self.gates
        return keys + key_gate * self.k_feature(inner), values + value_gate * self.v_feature(inner)
