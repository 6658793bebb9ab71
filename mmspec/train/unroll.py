"""The unrolled step: K drafts in a row, each fed with what drafting would feed it.

It is the training-time test of EAGLE-3 (arXiv:2503.01840).
Slot s pairs the target's feature of token s with the embedding of token s + 1, and guesses token
s + 2. A chain that starts at slot t reads true features up to t; at step k (from 0) it has come
to slot s = t + k, whose state is what the network itself said one slot and one step before. So at
step k slot s reads the keys of step 0 up to slot s - k, and of each later step i <= k the one key
at slot s - k + i: the chain it belongs to.

Axes: B rows, S = T - 1 slots of a row of T tokens, N of them learned from, K steps, H hidden,
D head dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

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


class Unrolled(NamedTuple):
    """What the network says at the slots that are learned from, N a row at most.

    Attributes:
        states: K of [B, N, H], one a step.
        slots: int64 [B, N], which slot each is; where a row has fewer, the rest repeat slot 0.
        valid: bool [K, B, N], as :func:`chains` has it; False on repeats.
    """

    states: list[Tensor]
    slots: Tensor
    valid: Tensor


def mask(query: tuple[Tensor, Tensor], key: tuple[Tensor, Tensor], step: int) -> Tensor:
    """Who sees what at a step after the first: bool [B, N, S + step N].

    Args:
        query: sample and slot of every state of the later steps, int64 [B, N] each; a sample of
            -2 is nobody's and is seen by its like alone.
        key: the same of the keys of step 0, [B, S] each.
    """
    behind = query[1][:, :, None] - key[1][:, None, :]
    parts = [(query[0][:, :, None] == key[0][:, None, :]) & (behind >= step)]
    behind = query[1][:, :, None] - query[1][:, None, :]
    same = query[0][:, :, None] == query[0][:, None, :]
    parts += [same & (behind == step - later) for later in range(1, step + 1)]
    return torch.cat(parts, -1)


def unroll(body: Body, rows: PackedRows, features: Sequence[Tensor], steps: int) -> Unrolled:
    """Draft K steps from every slot at once.

    Keys and values of step 0 are made for all slots; everything else, which is most of the work,
    only for those that are learned from.

    Args:
        features: the watched layers, each [B, T, H].
    """
    tokens, positions = rows.tokens[:, 1:], rows.index[:, :-1]
    valid = chains(rows, steps)
    slots, real = _gather(valid[0])
    # Under autocast the stream stays as wide as the features: norms and sums need it.
    states = body.fuse([layer[:, :-1] for layer in features]).to(features[0].dtype)
    query, key, value = body.project(tokens, states, positions)
    place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    whole = (rows.sample[:, :-1], place)
    sample = rows.sample.gather(1, slots)
    some = (torch.where(real, sample, -2), slots)
    seen = (sample[:, :, None] == whole[0][:, None, :]) & (slots[:, :, None] >= place[:, None, :])
    tokens, positions = tokens.gather(1, slots), positions.gather(1, slots)
    query, states = pick(query, slots), pick(states, slots)
    keys, values, said = [key], [value], list[Tensor]()
    for step in range(steps):
        if step:
            states = torch.cat([torch.zeros_like(said[-1][:, :1]), said[-1][:, :-1]], 1)
            query, key, value = body.project(tokens, states, positions)
            keys.append(key)
            values.append(value)
            seen = mask(some, whole, step)
        attended = torch.nn.functional.scaled_dot_product_attention(
            query.transpose(1, 2),
            torch.cat(keys, 1).transpose(1, 2),
            torch.cat(values, 1).transpose(1, 2),
            attn_mask=seen[:, None],
            enable_gqa=query.shape[2] != key.shape[2],
        ).transpose(1, 2)
        said.append(body.finish(tokens, states, attended))
    return Unrolled(said, slots, valid.gather(2, slots.expand(steps, -1, -1)) & real)


def _gather(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Places of True in each row of [B, S], int64 [B, N], and which of them are no padding."""
    count = chosen.sum(1)
    width = max(1, int(count.max()))
    order = chosen.int().argsort(dim=1, descending=True, stable=True)[:, :width]
    real = torch.arange(width, device=chosen.device) < count[:, None]
    return torch.where(real, order, 0), real


def pick(rows: Tensor, slots: Tensor) -> Tensor:
    """Rows [B, S, ...] at slots [B, N]."""
    return rows[torch.arange(len(slots), device=slots.device)[:, None], slots]
