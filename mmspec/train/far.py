"""The unrolled step of a drafter of bounded memory, whose second attention reads the target's keys.

At step k (from 0) slot s, whose token is s + 1, stands k edges below the root of its tree. The
target has cached what comes before the root, so the slot sees its keys up to token s - k: one
less for every step. LongSpec draws this lag for a whole batch; the steps of a chain are all lags
in turn. Of its own tokens a slot sees those fewer than ``span`` places back, whatever the step.

Axes: B rows, T tokens of a row, N slots that are learned from, K steps, W window, D head
dimension.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional as F

from mmspec.train.lesson import Lesson
from mmspec.train.packing import places
from mmspec.train.unroll import Unrolled, chains, pick, shift

if TYPE_CHECKING:
    from torch import Tensor

    from mmspec.longctx.longspec_network import LongspecNetwork
    from mmspec.train.capture import Captured, FrozenTarget
    from mmspec.train.lesson import Mix
    from mmspec.train.packing import PackedRows


class Sight(NamedTuple):
    """What slots see.

    Attributes:
        span: tokens back of their own, themselves included.
        lag: edges between the root and the first step's slots.
        crowd: how often a key of another sample counts; 0: it is not seen.
    """

    span: int
    lag: int = 0
    crowd: float = 0.0


class FarLesson(Lesson):
    """The loss of a ``LongspecNetwork``.

    Args:
        drawn: learn from one lag of U{1..D} a micro-batch, D being ``mix.depth`` or ``unroll``,
            in place of all of ``unroll`` in turn; for networks without features.
        spans: a micro-batch sees one of these of its own tokens, so that short texts too have to
            be read from the target's keys; trials the shortest. None: the network's own span.
        crowd: a row's other samples stand in for the rest of a long text: each key that the target
            has of them counts so many times beside a sample's own; 0: they are not seen.

    Raises:
        ValueError: drawn lags, of a network whose states depend on the step before.
    """

    def __init__(
        self, network: LongspecNetwork, target: FrozenTarget, kept: Tensor | None, mix: Mix,
        *, drawn: bool = False, spans: tuple[int, ...] = (), crowd: float = 0.0,
    ) -> None:  # fmt: skip
        if drawn and (network.config.features or mix.unroll != 1):
            raise ValueError("a drawn lag: of one step, without features")
        super().__init__(network, target, kept, mix)
        self._far, self._drawn = network, drawn
        self._spans, self._crowd = spans or (network.config.span,), crowd

    def _unrolled(
        self, rows: PackedRows, captured: Captured, features: list[Tensor], steps: int
    ) -> Unrolled:
        lag, span = 0, min(self._spans)
        if self.training:  # drawn of the rows alone, so that a micro-batch read again has the same
            drawn = int(rows.tokens.sum())
            span = self._spans[drawn % len(self._spans)]
            if self._drawn:
                lag = drawn // len(self._spans) % (self.mix.depth or self.mix.unroll)
        how = Sight(span, lag, self._crowd)
        return unroll_far(self._far, rows, captured, features, steps, how)


def unroll_far(
    network: LongspecNetwork, rows: PackedRows, captured: Captured, features: list[Tensor],
    steps: int, how: Sight,
) -> Unrolled:  # fmt: skip
    """Draft K steps from every slot at once.

    Args:
        features: the watched layers, each [B, T, H]; none where the network reads none.
    """
    assert captured.keys is not None
    assert captured.values is not None
    assert captured.angles is not None
    valid = chains(rows, steps)
    slots, real = places(valid[0])
    at = slots + 1
    tokens = windows(rows, network.window)
    shown = network.shown(tokens)
    near = [part.transpose(1, 2) for part in network.keys(shown, rows.index)]
    place = torch.arange(rows.tokens.shape[1], device=at.device)
    same = rows.sample.gather(1, at)[:, :, None] == rows.sample[:, None]
    behind = at[:, :, None] - place
    close = same & (behind >= 0) & (behind < how.span)
    crowd = None
    if how.crowd:
        others = ~same & (rows.sample >= 0)[:, None]
        crowd = torch.where(others, math.log(how.crowd), -torch.inf)
    own, given, where = pick(shown, at), pick(tokens, at), rows.index.gather(1, at)
    cos, sin = (pick(part, at) for part in captured.angles)
    state = network.fuse([pick(layer, slots) for layer in features]) if features else None
    said: list[Tensor] = []
    for step in range(steps):
        if step and features:
            state = shift(said[-1], 1)
        stream, query = network.begin(given, own, state, where)
        seen = attend(query, near[0], near[1], close)
        stream, asked = network.ask(own, stream, seen, (cos, sin))
        far = same & (behind > step + how.lag)
        told = attend(asked, captured.keys, captured.values, far, crowd)
        said.append(network.finish(stream, told))
    return Unrolled(said, slots, valid.gather(2, slots.expand(steps, -1, -1)) & real)


def windows(rows: PackedRows, width: int) -> Tensor:
    """Every token and those before it, int64 [B, T, W], latest first, or [B, T] for 1.

    Before its beginning a sample repeats its first token.
    """
    if width == 1:
        return rows.tokens
    place = torch.arange(rows.tokens.shape[1], device=rows.tokens.device)
    back = torch.minimum(torch.arange(width, device=place.device), rows.index[..., None])
    return rows.tokens.gather(1, (place[:, None] - back).flatten(1)).unflatten(1, (-1, width))


def attend(
    query: Tensor, key: Tensor, value: Tensor, seen: Tensor, besides: Tensor | None = None
) -> Tensor:
    """Attention of [B, N, heads, D] to [B, kv heads, T, D]; 0 where nothing is seen.

    Args:
        seen: bool [B, N, T].
        besides: [B, N, T], what is added to the scores of keys that are seen besides; -inf
            elsewhere.
    """
    kv_heads, count = key.shape[1], query.shape[1]
    empty = ~seen.any(-1)
    # [B, kv heads, group N, D]: the query heads of one key head share its mask.
    asked = query.unflatten(2, (kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3).to(key.dtype)
    mask = seen | empty[..., None]
    if besides is not None:
        mask = torch.where(mask, 0.0, besides).to(key.dtype)
    mask = mask[:, None].repeat(1, 1, asked.shape[2] // count, 1)
    told = F.scaled_dot_product_attention(asked, key, value.to(key.dtype), attn_mask=mask)
    told = told.unflatten(2, (-1, count)).permute(0, 3, 1, 2, 4).flatten(2, 3)
    return told.masked_fill(empty[..., None, None], 0).to(query.dtype)
