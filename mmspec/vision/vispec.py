"""The drafter that sees: a feature drafter whose pictures are a few tokens and one vector each.

ViSpec (arXiv:2509.15235) compresses a picture's tokens into m of its own, and adds a vector of the
picture to all that follows. Its published graph is read as it is; ours is a wide layer over three
of the target's layers whose reader also sees the target's features of the picture (``sight``).

What is kept of a picture lives in the sequence's own memory: nothing on a module, nothing shared.

Axes: C tokens of a chunk, T rows, N pictures, m kept tokens, H hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mmspec.core.drafter import Needs
from mmspec.text import eagle
from mmspec.text.eagle import Eagle
from mmspec.text.eagle_fit import pages_for, rows_for
from mmspec.text.spots import chunk_spots
from mmspec.vision.reader import Reader
from mmspec.vision.spans import TEXT, DraftPlan, plan_draft, spans_of
from mmspec.vision.vispec_load import load_network
from mmspec.vision.vispec_network import VispecNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Facts
    from mmspec.core.request import Request
    from mmspec.text.asked_pages import AskedPages
    from mmspec.text.eagle_memory import Memory
    from mmspec.text.eagle_rows import EagleRows

ALL = 1 << 30  # tokens of a picture, where none is left out


class Config(eagle.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of ``[drafters.vision.vispec]``; ``path``: ours, ViSpec's or MSD's checkpoint."""


class Vispec(Eagle):
    """Reads pictures once, when their last token is shown; the rest is a feature drafter's."""

    def __init__(self, config: Config, facts: Facts, rows: EagleRows, pages: AskedPages) -> None:
        network = rows.network
        assert isinstance(network, VispecNetwork)
        self._sight, self._seen = network.sight, network.sight.config
        self._reader = Reader(network.sight)
        super().__init__(config, facts, rows, pages, dense=self._seen.compact)
        self._kept = {"keep": ALL, "none": 0}.get(self._seen.how, self._seen.tokens)
        self.needs = self.needs.join(Needs(layers=(-1,)))

    def reach(self, request: Request) -> int | None:
        """Tokens of a text that it was made for; what it leaves out of pictures does not count."""
        most = super().reach(request)
        if most is None or not self._seen.compact:
            return most
        return most + sum(max(one.length - self._kept, 0) for one in request.prompt.media)

    def sees(self, memory: Memory, count: int) -> bool:
        """Whether a picture's tokens are among the next ``count``."""
        stop = memory.end + count
        spans = (
            (one.start, one.start + one.length) for one in memory.sequence.request.prompt.media
        )
        return any(start - 1 < stop and memory.end < end for start, end in spans)

    def bias(
        self, memories: ListOf[Memory], owner: np.ndarray, states: torch.Tensor
    ) -> torch.Tensor | None:
        """The vectors of each row's pictures; None where nobody has any."""
        banks = [memory.bank for memory in memories]
        most = max((len(bank) for bank in banks if bank is not None), default=0)
        if not most:
            return None
        if most == 1 and len(banks) == 1:  # the common case, at every level of every tree
            assert banks[0] is not None
            return banks[0][:, 0].expand(len(states), -1)
        # All sequences' pictures side by side: a row may lean on its own sequence's.
        whose = np.repeat(np.arange(len(banks)), [0 if b is None else len(b) for b in banks])
        begun = torch.from_numpy(owner[:, None] == whose).to(states.device)
        return self._sight.bias(states, torch.cat([b for b in banks if b is not None]), begun)

    def _read(self, pieces: list[tuple[Memory, slice]], hidden: Mapping[int, torch.Tensor]) -> None:
        (memory, part), *others = pieces
        count = part.stop - part.start
        if others or not self.sees(memory, count):
            super()._read(pieces, hidden)
            return
        layers = self.rows.config.layers
        fused = self.rows.fuse([hidden[layer][part] for layer in layers], chunk=True)
        spans = spans_of(memory.sequence.request.prompt)
        plan = plan_draft(spans, memory.end, memory.end + count, self._kept)
        kept = self._look(memory, spans, hidden[-1][part], fused)
        self._extend(memory, plan, fused, kept, int((spans[:, 0] < memory.first).sum()))
        memory.end += count

    def _look(
        self, memory: Memory, spans: np.ndarray, embeds: torch.Tensor, fused: torch.Tensor
    ) -> dict[int, torch.Tensor]:
        """Look at the pictures that end in this chunk; number -> [m, H] kept of it.

        A picture whose beginning was not shown, now or to a memory that rests, is left out.

        Args:
            embeds: [C, E] that entered the target. fused: [C, H], features.
        """
        told: dict[int, torch.Tensor] = {}
        begin, stop = memory.end, memory.end + len(fused)
        for number, (start, end) in enumerate(spans.tolist()):
            if start < memory.first or end <= begin or start >= stop:
                continue
            here = slice(max(start - begin, 0), min(end, stop) - begin)
            outer, inner = embeds[here].to(fused.dtype), fused[here]
            if start < begin or end > stop:  # a chunk's end cuts it
                memory.halves.append(torch.cat([outer, inner], -1))
                if end > stop:
                    break
                both = torch.cat(memory.halves)
                memory.halves.clear()
                widths = [embeds.shape[-1], fused.shape[-1]]
                outer, inner = (half.contiguous() for half in both.split(widths, -1))
            told[number], kept = self._reader(outer, inner, number)
            if kept is not None:
                before = () if memory.bank is None else (memory.bank,)
                memory.bank = torch.cat([*before, kept[None]])
        return told

    def _extend(
        self, memory: Memory, plan: DraftPlan, fused: torch.Tensor,
        kept: dict[int, torch.Tensor], missed: int,
    ) -> None:  # fmt: skip
        """Put the plan's rows behind the sequence's slots.

        Args:
            missed: pictures before those in the memory's bank.
        """
        text, image = plan.kind == TEXT, plan.image_of_slot
        source, positions = plan.source, plan.positions
        if not kept.keys() >= set(image[~text].tolist()):  # one whose beginning was not shown
            used = text | np.isin(image, list(kept))
            text, image = text[used], image[used]
            source, positions = source[used], positions[used]
        count = len(text)
        if not count:
            return
        # Text slots are rows of the features, pictures' of what was kept, laid behind them.
        places, behind = source - memory.end, len(fused)
        for number, said in kept.items():
            own = np.flatnonzero(~text & (image == number))
            behind += len(said)
            places[own] = np.arange(behind - len(own), behind)
        # A slot shows the token after it and those before; pictures' show none (at -1: the first).
        shown = source[:, None] + 1 - np.arange(self.rows.config.window)
        tokens = np.where(text[:, None], memory.sequence.tokens[np.maximum(shown, 0)], -1)
        read = torch.cat([fused, *kept.values()]) if kept else fused
        states = read[torch.from_numpy(places).to(fused.device)]
        bias = None
        if memory.bank is not None:
            begun = np.arange(len(memory.bank)) + missed <= (image - ~text)[:, None]
            bias = self._sight.bias(states, memory.bank, torch.from_numpy(begun).to(fused.device))
        spots = chunk_spots(memory.home, count)
        if not memory.dense:  # else they follow one another, as a chunk's slots do
            spots = spots._replace(positions=positions)
        last = np.array([count - 1])
        said_rows = self.rows.run(tokens, states, spots, self.store, bias, last)
        memory.filled += count
        memory.state, memory.normed = said_rows.states[0], said_rows.normed[0]


def build(config: Config, facts: Facts) -> Vispec:
    """A drafter that sees, from its checkpoint, lent what it shares with the target.

    Raises:
        ConfigError: the checkpoint is not one, or does not fit the target.
    """
    rows = rows_for("vision.vispec", load_network, config.path, facts)
    return Vispec(config, facts, rows, pages_for("vision.vispec", config, facts, rows))
