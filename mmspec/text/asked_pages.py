"""What a drafter sees of a long text: what the target's last verification attended to.

The target's own queries of a text's last verified token are at hand after every step, and cost
nothing. The pages on which their attention lies are those that matter now (TriForce,
arXiv:2404.11912, keeps such chunks for a target that drafts for itself). A small drafter that sees
these alone is not misled by what looks alike in a long text, and what it reads does not grow with
the text.

What is kept of a sequence is of its last token alone, so there is nothing to undo, and what was
not seen (behind a prompt, after a fault) means that everything is read once.

Axes: n cached tokens, Hkv key heads, G query heads of each, D their width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from mmspec.core.drafter import Needs
from mmspec.core.errors import ConfigError
from mmspec.model.target import Target
from mmspec.text.near import WHOLE, Near, View

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    import torch

    from mmspec.core.drafter import Keys, Observation
    from mmspec.core.sequence import Sequence

SHORT = 2  # times as long as what would be seen: a text that is no longer is seen whole
AHEAD = 0.5  # of a page's weight also counts for the next: what is being copied goes on there


class Measures(NamedTuple):
    """How much of a text is seen, in tokens.

    Attributes:
        sinks: its first ones. window: its last ones. pages: how many between. page: tokens of one.
    """

    sinks: int
    window: int
    pages: int
    page: int

    @property
    def most(self) -> int:
        """Tokens that are seen in all."""
        return self.sinks + self.window + self.pages * self.page


class Asking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of drafters that may see a part of a text; lengths are in tokens."""

    pages: Annotated[int, Meta(ge=0)] = 0  # that are seen where the target attended; 0: everything
    page: Annotated[int, Meta(ge=1)] = 32  # of one page
    recent: Annotated[int, Meta(ge=1)] = 64  # last ones, always seen
    sinks: Annotated[int, Meta(ge=0)] = 32  # first ones, always seen
    looks: tuple[int, ...] = ()  # target's layers whose attention counts; none: all that see all


class AskedPages:
    """What of each sequence is seen.

    Args:
        options: how much. target: whose attention it is; None: everything is seen.
    """

    def __init__(self, options: Asking, target: Target | None, looks: tuple[int, ...] = ()) -> None:
        self.measures = Measures(options.sinks, options.recent, options.pages, options.page)
        self.layers = looks
        self._size = 0 if target is None else target.heads * target.head_dim * target.dtype.itemsize
        self._keys: Keys | None = None
        self._held: dict[str, _Asked] = {}

    @property
    def needs(self) -> Needs:
        """Nothing, where everything is seen."""
        return Needs(keys=bool(self.layers), queries=self.layers)

    @property
    def bytes(self) -> int:
        """What is held of a sequence: queries, and where the pages' tokens stand."""
        return len(self.layers) * self._size + 8 * self.measures.pages * self.measures.page

    def borrow(self, keys: Keys) -> None:
        """Take the view of the target's store."""
        self._keys = keys

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Keep what each sequence's last cached token asked."""
        if not self.layers or not all(layer in seen.queries for layer in self.layers):
            return
        for index, sequence in enumerate(sequences):
            first, last = int(seen.offsets[index]), int(seen.offsets[index + 1])
            if last > first:
                asked = tuple(seen.queries[layer][last - 1].clone() for layer in self.layers)
                self._held[sequence.id] = _Asked(sequence, sequence.cached, asked)

    def view(self, sequence: Sequence) -> View:
        """What is seen of a sequence before its last token, by position."""
        held = self._held.get(sequence.id)
        if held is None or held.sequence is not sequence or held.cached != len(sequence) - 1:
            return WHOLE
        if held.view is None:
            held.view = self._chosen(held)
        return held.view

    def short(self, cached: int) -> bool:
        """Whether a text of so many cached tokens is seen whole: choosing would not pay."""
        return cached <= SHORT * self.measures.most

    def near(self, views: ListOf[View]) -> Near | None:
        """What rows of these sequences see; None: everything, all of them."""
        if all(view is WHOLE for view in views):
            return None
        return Near(views, self.measures.sinks, self.measures.window)

    def forget(self, id: str) -> None:
        """Forget a sequence; unknown ids are fine."""
        self._held.pop(id, None)

    def _chosen(self, held: _Asked) -> View:
        if self.short(held.cached) or self._keys is None:
            return WHOLE
        known = [self._keys.read(held.sequence, layer) for layer in self.layers]
        weight = np.zeros(held.cached, np.float32)
        for query, stored in zip(held.asked, known, strict=True):
            if stored is None or stored.shape[2] != held.cached:
                return WHOLE
            weight += attention(query, stored[0]).cpu().numpy()
        return heaviest(weight, self.measures)


@dataclass(slots=True)
class _Asked:
    """What the last of ``cached`` tokens asked of each layer, [Hkv, G, D]."""

    sequence: Sequence
    cached: int
    asked: tuple[torch.Tensor, ...]
    view: View | None = None


def attention(query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """What each of n keys gets of all heads' attention, float32 [n].

    Args:
        query: scaled, [Hkv, G, D]. keys: [Hkv, n, D], which come first in the product: a tall
            matrix by a thin one is several times as fast as the other way round.
    """
    return (keys @ query.mT).float().softmax(1).sum((0, 2))


def heaviest(weight: np.ndarray, measures: Measures) -> View:
    """The pages with most of the weight float32 [n] of a text's cached tokens, in order."""
    sinks, page = measures.sinks, measures.page
    start = max(len(weight) + 1 - measures.window, sinks)
    edges = np.arange(sinks, start, page)
    if not len(edges):
        return View(start, WHOLE.far)
    heavy = np.add.reduceat(weight[:start], edges)
    heavy[1:] += AHEAD * heavy[:-1]
    best = np.sort(np.argsort(-heavy, kind="stable")[: measures.pages])
    spans = [np.arange(edges[one], min(edges[one] + page, start)) for one in best]
    return View(start, np.concatenate(spans))


def asked_pages(
    address: str, options: Asking, target: object, default: int | None = None
) -> AskedPages:
    """What a drafter sees, as its options say.

    Args:
        default: the layer that is looked at where none is named; None: all that see everything.

    Raises:
        ConfigError: there is no target, or it has no such layers.
    """
    if not options.pages:
        return AskedPages(options, None)
    if not isinstance(target, Target):
        raise ConfigError(f"drafter {address}: pages are where its target attends; there is none")
    whole = [layer for layer in range(target.layers) if target.sliding(layer) is None]
    looks = options.looks or (tuple(whole) if default is None else (default,))
    wrong = [layer for layer in looks if layer not in whole]
    if wrong or not looks:
        raise ConfigError(
            f"drafter {address}: looks {list(looks)}; the target's layers that see everything are "
            f"{whole}"
        )
    return AskedPages(options, target, tuple(sorted(set(looks))))
