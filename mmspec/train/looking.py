"""What a drafter that sees starts its chains from: pictures in their few slots, none elsewhere.

A picture of tokens [s, e) takes the slots [s - 1, e - 1) (slot t pairs token t's feature with
token t + 1's embedding). Its kept tokens stand in the last of them; nobody reads the others.

Axes: B rows, S slots, P pictures, N pictures of a row at most, L tokens of the longest, m kept,
H hidden.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import torch

from mmspec.train.unroll import Ground, ground

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from mmspec.train.capture import Captured
    from mmspec.train.packing import PackedRows
    from mmspec.vision.sight import Seen, Sight
    from mmspec.vision.vispec_network import VispecNetwork

NOBODY = -2


class _Span(NamedTuple):
    row: int
    first: int  # its first slot
    start: int  # its first token
    stop: int


class Looking:
    """Grounds for one network; given to ``Lesson`` as its ``look``."""

    def __init__(self, network: VispecNetwork) -> None:
        self._network = network

    def __call__(self, rows: PackedRows, captured: Captured, features: list[Tensor]) -> Ground:
        """The ground of these rows, whose embeddings were captured as layer -1."""
        start = ground(self._network, rows, features)
        if not rows.pictures:
            return start
        spans = _spans(rows)
        embeds, inner, real = _gathered(spans, captured.hidden[-1], start.states)
        sight: Sight = self._network.sight
        seen = sight(embeds.to(start.states.dtype), inner, real)
        tokens, states, sample = start.tokens.clone(), start.states.clone(), start.sample.clone()
        for number, span in enumerate(spans):
            end = span.stop - 1
            kept = min(seen.tokens.shape[1], end - span.first)
            tokens[span.row, span.first : end] = -1
            sample[span.row, span.first : end - kept] = NOBODY
            if kept:
                said = seen.tokens[number, seen.tokens.shape[1] - kept :]
                states[span.row, end - kept : end] = said.to(states.dtype)
        positions = _compacted(start.positions, sample) if sight.config.compact else start.positions
        return Ground(tokens, states, positions, sample, _bias(sight, rows, spans, seen))


def _spans(rows: PackedRows) -> list[_Span]:
    index = rows.index.tolist()
    return [
        _Span(p.row, max(p.start - 1, p.start - index[p.row][p.start]), p.start, p.stop)
        for p in rows.pictures
    ]


def _gathered(spans: list[_Span], embeds: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings [P, L, E] and features [P, L, H] of the pictures' tokens, and which are real."""
    longest = max(span.stop - span.start for span in spans)
    real = torch.zeros(len(spans), longest, dtype=torch.bool, device=states.device)
    outer = embeds.new_zeros(len(spans), longest, embeds.shape[-1])
    inner = states.new_zeros(len(spans), longest, states.shape[-1])
    for number, span in enumerate(spans):
        length = span.stop - span.start
        real[number, longest - length :] = True
        outer[number, longest - length :] = embeds[span.row, span.start : span.stop]
        inner[number, longest - length :] = states[span.row, span.start : span.stop]
    return outer, inner, real


def _compacted(positions: Tensor, sample: Tensor) -> Tensor:
    """Positions less the slots that were left out before, of the same sample."""
    gone = sample == NOBODY
    before = gone.cumsum(1)
    first = (positions == 0).long() * torch.arange(positions.shape[1], device=positions.device)
    start = first.cummax(1).values
    out = before.gather(1, start) - gone.long().gather(1, start)
    return positions - (before - out)


def _places(rows: PackedRows, spans: list[_Span]) -> Tensor:
    """Every picture's number among those of its sample, int64 [P]."""
    whose = [(span.row, int(rows.sample[span.row, span.start])) for span in spans]
    return torch.tensor([whose[:number].count(own) for number, own in enumerate(whose)])


def _bias(
    sight: Sight, rows: PackedRows, spans: list[_Span], seen: Seen
) -> Callable[[Tensor, Tensor | None], Tensor] | None:
    """What is added to states of what comes after each picture; None for no glance."""
    if seen.glance is None:
        return None
    members: dict[int, list[int]] = defaultdict(list)
    for number, span in enumerate(spans):
        members[span.row].append(number)
    batch, slots = rows.tokens.shape[0], rows.tokens.shape[1] - 1
    most = max(map(len, members.values()))
    kept = sight.remember(seen.glance, _places(rows, spans).to(seen.glance.device))
    bank = kept.new_zeros(batch, most, *kept.shape[1:])
    begun = torch.zeros(batch, slots, most, dtype=torch.bool, device=bank.device)
    for row, numbers in members.items():
        bank[row, : len(numbers)] = kept[numbers]
        for place, number in enumerate(numbers):
            span = spans[number]
            own = rows.sample[row, span.start]
            begun[row, span.stop - 1 :, place] = rows.sample[row, span.stop - 1 : -1] == own

    def lift(states: Tensor, at: Tensor | None) -> Tensor:
        came = begun if at is None else begun.gather(1, at[..., None].expand(-1, -1, most))
        return sight.bias(states, bank, came).to(states.dtype)

    return lift
