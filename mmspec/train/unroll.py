"""The unrolled step: K drafts in a row, each fed with what drafting would feed it.

It is the training-time test of EAGLE-3 (arXiv:2503.01840).
Slot s pairs the target's feature of token s with the embedding of token s + 1, and guesses token
s + 2. A chain that starts at slot t reads true features up to t; at step k (from 0) it has come
to slot s = t + k, whose state is what the network itself said one slot and one step before. So at
step k slot s reads the keys of step 0 up to slot s - k, and of each later step i <= k the one key
at slot s - k + i: the chain it belongs to.

A network that says p states at a slot makes p steps a pass. Its next pass is fed with all p at
once, beside the tokens that they foretold, and is asked at the last of them: so a pass at step
k = p m reads the keys of step 0 up to slot s - k, and the k keys of its chain.

Axes: B rows, S = T - 1 slots of a row of T tokens, N of them learned from, K steps, p states of a
slot, H hidden, D head dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from mmspec.train.packing import places

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mmspec.train.packing import PackedRows


class Body(Protocol):
    """What the unrolled step asks of a drafter's network; its tokens are ``windows``."""

    @property
    def window(self) -> int:
        """Of how many tokens a slot reads the embedding."""
        ...

    @property
    def parallel(self) -> int:
        """How many states it says at a slot."""
        ...

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        """The watched layers' true features, each [B, S, H], as a state [B, S, H]."""
        ...

    def project(
        self, tokens: Tensor, states: Tensor, positions: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries [B, S, heads, D], rotated keys and values [B, S, kv heads, D]."""
        ...

    def finish(
        self, tokens: Tensor, states: Tensor, attended: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """What the network says after attention [B, S, heads, D]: the next slots' states.

        They are [B, S, p, H], or [B, S, H] for one.
        """
        ...


def windows(rows: PackedRows, width: int) -> Tensor:
    """What every slot reads: token s + 1 and those before it, int64 [B, S, W], or [B, S] for 1.

    Before its beginning a sample repeats its first token.
    """
    if width == 1:
        return rows.tokens[:, 1:]
    place = torch.arange(1, rows.tokens.shape[1], device=rows.tokens.device)
    back = torch.minimum(
        torch.arange(width, device=place.device), rows.index[:, :-1, None].clamp_min(0) + 1
    )
    where = (place[:, None] - back).flatten(1)
    return rows.tokens.gather(1, where).unflatten(1, (-1, width))


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


class Ground(NamedTuple):
    """What the chains start from.

    Attributes:
        tokens: the slots' windows. states: [B, S, H], true ones. positions: int64 [B, S].
        sample: int64 [B, S], whose each slot is; one that no slot may read is nobody's, -2.
        bias: what is added to states [B, N, H] at slots int64 [B, N] (None: at all of them).
    """

    tokens: Tensor
    states: Tensor
    positions: Tensor
    sample: Tensor
    bias: Callable[[Tensor, Tensor | None], Tensor] | None = None


def ground(body: Body, rows: PackedRows, features: Sequence[Tensor]) -> Ground:
    """The ground of a drafter that reads every token alike.

    Args:
        features: the watched layers, each [B, T, H].
    """
    # Under autocast the stream stays as wide as the features: norms and sums need it.
    states = body.fuse([layer[:, :-1] for layer in features]).to(features[0].dtype)
    tokens = windows(rows, body.window)
    return Ground(tokens, states, rows.index[:, :-1], rows.sample[:, :-1])


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


def attend(
    query: Tensor,
    first: tuple[Tensor, Tensor],
    later: Sequence[tuple[Tensor, Tensor]],
    seen: Tensor,
) -> Tensor:
    """Attention of the states of one step, [B, N, heads, D].

    Of every later step a state sees one key, that of its own chain, which stands as many places
    before it as steps have gone by since; so these are no matrix but a few products a state.

    Args:
        query: [B, N, heads, D].
        first: keys and values of step 0, [B, S, kv heads, D] each; seen: bool [B, N, S], which.
        later: keys and values of the later steps, [B, N, kv heads, D] each, the states' own last.
    """
    count, kv_heads = query.shape[1], first[0].shape[2]
    # [B, kv heads, group, N, D]
    asked = query.unflatten(2, (kv_heads, -1)).permute(0, 2, 3, 1, 4) * query.shape[-1] ** -0.5
    key, value = (part.permute(0, 2, 1, 3) for part in first)
    scores = [
        (asked.flatten(2, 3) @ key.transpose(-1, -2)).unflatten(2, (-1, count))
        .masked_fill(~seen[:, None, None], -torch.inf)
    ]  # fmt: skip
    chain = [
        tuple(shift(part, len(later) - 1 - step).permute(0, 2, 1, 3)[:, :, None] for part in pair)
        for step, pair in enumerate(later)
    ]
    scores += [(asked * own_key).sum(-1, keepdim=True) for own_key, _ in chain]
    shares = torch.cat(scores, -1).softmax(-1).to(value.dtype)
    far = shares[..., : key.shape[2]]
    told = (far.flatten(2, 3) @ value).unflatten(2, (-1, count))
    for step, (_, own_value) in enumerate(chain):
        told = told + shares[..., key.shape[2] + step, None] * own_value
    return told.permute(0, 3, 1, 2, 4).flatten(2, 3)


def shift(rows: Tensor, places: int) -> Tensor:
    """Rows [B, N, ...] moved towards the end; the first ones repeat."""
    places = min(places, rows.shape[1])
    if places == 0:
        return rows
    return torch.cat([rows[:, :1].expand(-1, places, *rows.shape[2:]), rows[:, :-places]], 1)


def unroll(body: Body, rows: PackedRows, start: Ground, steps: int) -> Unrolled:
    """Draft K steps from every slot at once.

    Keys and values of step 0 are made for all slots; everything else, which is most of the work,
    only for those that are learned from.
    """
    tokens, states, positions, sample, lift = start
    valid = chains(rows, steps)
    slots, real = places(valid[0])
    bias = None if lift is None else lift(states, None)
    query, key, value = body.project(tokens, states, positions, bias)
    place = torch.arange(positions.shape[1], device=slots.device).expand_as(positions)
    same = rows.sample.gather(1, slots)[:, :, None] == sample[:, None]
    behind = slots[:, :, None] - place[:, None, :]
    tokens, positions = pick(tokens, slots), positions.gather(1, slots)
    query, states, first = pick(query, slots), pick(states, slots), (key, value)
    bias = None if bias is None else pick(bias, slots)
    later, said = list[tuple[Tensor, Tensor]](), list[Tensor]()
    for step in range(0, steps, body.parallel):
        for before in said[step - body.parallel : step] if step else ():
            states = shift(before, 1)
            bias = None if lift is None else lift(states, slots)
            query, key, value = body.project(tokens, states, positions, bias)
            later.append((key, value))
        attended = attend(query, first, later, same & (behind >= step))
        said += _at_their_slots(body.finish(tokens, states, attended, bias), body.parallel)
    return Unrolled(said[:steps], slots, valid.gather(2, slots.expand(steps, -1, -1)) & real)


def _at_their_slots(said: Tensor, parallel: int) -> list[Tensor]:
    """A pass's states, p of [B, N, H], each at the slot it foretells from: j after its own."""
    if parallel == 1:
        return [said]
    return [shift(states, place) for place, states in enumerate(said.unbind(2))]


def pick(rows: Tensor, slots: Tensor) -> Tensor:
    """Rows [B, S, ...] at slots [B, N]."""
    return rows[torch.arange(len(slots), device=slots.device)[:, None], slots]
