"""A picture's reader as decoding wants it: its keys and values folded into its queries.

The queries are weights, so a query's score of a row x is (Wk' q) x, a number a row, and what a
head says is Wv (shares x): keys and values of a picture's rows are never made. Biases of keys add
the same to every score and fall out; gates and norms' weights go into the weights. Exact but for
rounding; it saves most of a drafter's work on a picture's first sight.

Axes: L tokens of one picture, m kept tokens, Q queries, h heads of D, E the target's width, H the
drafter's, X = E + H or one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from mmspec_kernels.stored import arithmetic, stored
from torch import Tensor, nn
from torch.nn import functional as F

from mmspec.model.packed import PackedLinear
from mmspec.vision.reader_compiled import look

if TYPE_CHECKING:
    from mmspec.vision.sight import Sight

SMALL = 1 << 21  # products up to which one core's compiled loop is the faster way


class Glimpse(NamedTuple):
    """Of one picture: tokens [m, H], and its vector as it is remembered, [2, H] or None."""

    tokens: Tensor
    memory: Tensor | None


class Reader:
    """One :class:`Sight`, for one picture at a time; its weights are laid out once and for good."""

    def __init__(self, sight: Sight) -> None:
        self._config, self._eps, self._hidden = sight.config, sight.eps, sight.hidden
        self._order = sight.order.data if sight.config.orders else None
        self._latents = sight.latents.data if sight.config.how == "latent" else None
        self._compiled: np.ndarray | None = None
        self._streams, values, bias = _streams(sight)
        if not self._streams:
            return
        heads, dim = sight.query.shape[1:]
        keys = torch.cat([stream.keys for stream in self._streams], -1).double()
        query = sight.query.data.transpose(0, 1).double() * dim**-0.5  # [h, Q, D]
        folded = (query @ keys.unflatten(0, (heads, dim))).flatten(0, 1)  # [h Q, X]
        dtype = sight.query.dtype
        self._query = folded.to(dtype)
        self._values = values.unflatten(0, (heads, dim)).contiguous()  # [h, D, X]
        self._value_bias = bias
        if folded.device.type == "cpu":
            real, self._word = arithmetic(dtype)
            self._compiled = folded.numpy().astype(real.dtype)
        out = sight.o_proj.weight.data
        parts = [out]
        if sight.config.glance:
            # The vector, and the key it is chosen by (see ``Sight.remember``), in one product.
            lean = sight.lean.weight.data
            key = lean if sight.config.plain else sight.choose.weight.data.mT @ lean
            parts += [lean @ out, key @ out]
        self._out = PackedLinear(torch.cat(parts), None)

    def __call__(self, embeds: Tensor, features: Tensor, place: int) -> Glimpse:
        """Look at one picture.

        Args:
            embeds: [L, E], projected. features: [L, H], the fused ones at their places.
            place: its number among the pictures of its request, from 0.
        """
        how, memory = self._config.how, None
        told = self._told(embeds, features)
        if self._config.glance:
            memory = told[-1, self._hidden :].view(2, -1)
            if self._order is not None:
                own = self._order[min(place, len(self._order) - 1)]
                memory = torch.stack([memory[0], memory[1] + own])
        told = told[:, : self._hidden]
        if how == "keep":
            return Glimpse(embeds, memory)
        if self._latents is not None:
            shares = (self._latents @ features.mT).softmax(-1)
            return Glimpse(shares @ features, memory)
        return Glimpse(told[: self._config.tokens if how == "resample" else 0], memory)

    def _told(self, embeds: Tensor, features: Tensor) -> Tensor:
        """What the queries say of the picture, [Q, H], or [Q, 3 H] with vector and key."""
        if not self._streams:
            return features[:0]
        small = self._compiled is not None and len(features) * self._compiled.size <= SMALL
        seen = self._seen_compiled(embeds, features) if small else self._seen(embeds, features)
        if self._value_bias is not None:
            seen = seen + self._value_bias
        return self._out(seen.to(features.dtype)[None])[0]

    def _seen(self, embeds: Tensor, features: Tensor) -> Tensor:
        """What the heads say to each query, [Q, h D]."""
        rows = [self._even(embeds if s.outer else features, s) for s in self._streams]
        read = rows[0] if len(rows) == 1 else torch.cat(rows, -1)
        wide = torch.promote_types(read.dtype, torch.float32)
        sums = (self._query @ read.mT).softmax(-1, dtype=wide).to(read.dtype) @ read
        seen = sums.unflatten(0, (len(self._values), -1)) @ self._values.mT  # [h, Q, D]
        return seen.transpose(0, 1).flatten(1)

    def _even(self, rows: Tensor, stream: _Stream) -> Tensor:
        return F.rms_norm(rows, rows.shape[-1:], eps=self._eps) if stream.normed else rows

    def _seen_compiled(self, embeds: Tensor, features: Tensor) -> Tensor:
        """The same in one pass, for few rows: a product's dispatch costs more than its numbers."""
        assert self._compiled is not None
        streams = [stream for stream in self._streams if stream.outer]
        outer = embeds if streams else embeds[:, :0]
        inner = features if len(streams) < len(self._streams) else features[:, :0]
        heads, dim, _ = self._values.shape
        out = np.empty((len(self._compiled) // heads, heads * dim), self._compiled.dtype)
        look(
            stored(outer), stored(inner), (not self._config.plain, True), self._eps,
            self._compiled, self._word, stored(self._values), out,
        )  # fmt: skip
        return torch.from_numpy(out)


class _Stream(NamedTuple):
    """What queries read: embeddings (``outer``) or features; its keys' weights [h D, E or H]."""

    outer: bool
    normed: bool
    keys: Tensor


def _streams(sight: Sight) -> tuple[list[_Stream], Tensor, Tensor | None]:
    """The streams, their values' weights side by side [h D, X], and those values' bias [h D]."""
    told: list[_Stream] = []
    values: list[Tensor] = []
    bias = None
    key_gate, value_gate = getattr(sight, "gates", torch.ones(2))
    if hasattr(sight, "k_proj"):
        norm = _weight(sight.embed_norm)
        told.append(_Stream(True, not sight.config.plain, sight.k_proj.weight.data * norm))
        values.append(sight.v_proj.weight.data * norm)
        bias = None if sight.v_proj.bias is None else sight.v_proj.bias.data
    if hasattr(sight, "k_feature"):
        norm = _weight(sight.feature_norm)
        told.append(_Stream(False, True, sight.k_feature.weight.data * key_gate * norm))
        values.append(sight.v_feature.weight.data * value_gate * norm)
    return told, torch.cat(values, -1) if values else torch.empty(0), bias


def _weight(norm: nn.Module) -> Tensor | float:
    return norm.weight.data if isinstance(norm, nn.RMSNorm) else 1.0
