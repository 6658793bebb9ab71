"""The unrolled step: K drafts in a row, each fed with what drafting would feed it.

It is the training-time test of EAGLE-3 (arXiv:2503.01840).
Slot s pairs the target's feature of token s with the embedding of token s + 1, and guesses token
s + 2. A chain that starts at slot t reads true features up to t; at step k (from 0) it has come
to slot s = t + k, whose state is what the network itself said one slot and one step before. So at
step k slot s reads the keys of step 0 up to slot s - k, and of each later step i <= k the one key
at slot s - k + i: the chain it belongs to.

Axes: B rows, S = T - 1 slots of a row of T tokens, K steps, H hidden, D head dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.train.packing import PackedRows


class Body(Protocol):
    """What the unrolled step asks of a drafter's network."""

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        """The watched layers' true features, each [B, S, H], as a state [B, S, H]."""
        ...

    def project(
        self, tokens: Tensor, states: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries [B, S, heads, D], rotated keys and values [B, S, kv heads, D]."""
        ...

    def finish(self, tokens: Tensor, states: Tensor, attended: Tensor) -> Tensor:
        """What the network says after attention [B, S, heads, D]: the next slot's state."""
        ...


def chains(rows: PackedRows, steps: int) -> Tensor:
    """Whether slot s at step k is one that decoding could meet, bool [K, B, S].

    The token it guesses, and all that its chain has guessed before, are the response's, of one
    sample.
    """
    learned, sample = rows.learned, rows.sample
    guessed = torch.zeros_like(learned[:, 1:])
    guessed[:, :-1] = learned[:, 2:] & (sample[:, 2:] == sample[:, :-2])
    told = [guessed]
    for _ in range(1, steps):
        before = torch.zeros_like(guessed)
        before[:, 1:] = told[-1][:, :-1] & (sample[:, 1:-1] == sample[:, :-2])
        told.append(guessed & before)
    return torch.stack(told)


def masks(sample: Tensor, steps: int) -> list[Tensor]:
    """Who sees what at each step: bool [B, S, (k + 1) S], the keys of step 0 first.

    Args:
        sample: int64 [B, S], which sample a slot is of.
    """
    size = sample.shape[1]
    place = torch.arange(size, device=sample.device)
    behind = place[:, None] - place[None, :]  # how far the key's slot is behind the query's
    same = sample[:, :, None] == sample[:, None, :]
    told = []
    for step in range(steps):
        parts = [same & (behind >= step)]
        parts += [same & (behind == step - later) for later in range(1, step + 1)]
        told.append(torch.cat(parts, -1))
    # Slots before the first chain see nothing at all of step 0; their own key keeps softmax finite.
    return told


def unroll(body: Body, rows: PackedRows, features: Sequence[Tensor], steps: int) -> list[Tensor]:
    """K states [B, S, H], one a step: what the network says at every slot.

    Args:
        features: the watched layers, each [B, T, H].
    """
    tokens, positions = rows.tokens[:, 1:], rows.index[:, :-1]
    states = body.fuse([layer[:, :-1] for layer in features])
    keys: list[Tensor] = []
    values: list[Tensor] = []
    said: list[Tensor] = []
    for mask in masks(rows.sample[:, :-1], steps):
        query, key, value = body.project(tokens, states, positions)
        keys.append(key)
        values.append(value)
        attended = torch.nn.functional.scaled_dot_product_attention(
            query.transpose(1, 2),
            torch.cat(keys, 1).transpose(1, 2),
            torch.cat(values, 1).transpose(1, 2),
            attn_mask=mask[:, None],
            enable_gqa=query.shape[2] != key.shape[2],
        ).transpose(1, 2)
        said.append(body.finish(tokens, states, attended))
        states = torch.cat([torch.zeros_like(said[-1][:, :1]), said[-1][:, :-1]], 1)
    return said
