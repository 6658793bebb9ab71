"""Which pages of a long text matter now: those its last token attends to, on all layers together.

A drafter that sees sinks and a window alone has lost what is far. What a text needs of it changes
slowly (Quest, arXiv:2406.10774, ranks pages by summaries of their keys; Vegas and SparseSpec reuse
the attention of the last verification), so now and then one row reads everything, and the pages
on which its attention lies are seen until the next time. Nothing is asked of the target's own
steps: the row is the drafter's, at the root of a tree, and its queries and the cached keys are
what the target's would be. The row is not lost either: it says what the target itself will.

Axes: B sequences, n cached tokens, K positions, P pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmspec.text.asked_pages import attention, heaviest
from mmspec.text.spots import REACH

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    import numpy as np

    from mmspec.core.drafter import Keys
    from mmspec.core.sequence import Sequence
    from mmspec.text.asked_pages import Measures
    from mmspec.text.near import View
    from mmspec.text.spots import Home


@dataclass(slots=True)
class _Chosen:
    sequence: Sequence
    length: int  # of the text when it was chosen
    view: View


class Pages:
    """What is seen of every sequence.

    Args:
        refresh: tokens of text between two choices.
    """

    def __init__(self, measures: Measures, refresh: int) -> None:
        self._measures, self._refresh = measures, refresh
        self._held: dict[str, _Chosen] = {}

    @property
    def bytes(self) -> int:
        """What is held of a sequence, at most: where its far tokens stand, eight bytes each."""
        return 8 * self._measures.pages * self._measures.page

    def due(self, sequence: Sequence, cached: int) -> bool:
        """Whether the sequence's next root is to read everything. Asking twice changes nothing."""
        measures = self._measures
        if not measures.pages or cached + REACH <= measures.sinks + measures.window:
            return False  # no row of a tree misses anything
        held = self._of(sequence)
        since = 0 if held is None else len(sequence) - held.length
        return held is None or since == 0 or since >= self._refresh

    def view(self, sequence: Sequence) -> View | None:
        """What was chosen last; None: nothing yet."""
        held = self._of(sequence)
        return None if held is None else held.view

    def choose(self, sequence: Sequence, weight: np.ndarray) -> None:
        """Take the pages with most of the weight float32 [n] of its cached tokens."""
        self._held[sequence.id] = _Chosen(sequence, len(sequence), heaviest(weight, self._measures))

    def forget(self, id: str) -> None:
        """Forget a sequence; unknown ids are fine."""
        self._held.pop(id, None)

    def _of(self, sequence: Sequence) -> _Chosen | None:
        held = self._held.get(sequence.id)
        return held if held is not None and held.sequence is sequence else None


class Looking:
    """Adds up where roots attend while they go through the layers: ``Target.states``' ``look``.

    Args:
        keys: the target's. homes: of the sequences. rows: which of them look, and the rows of
            their roots, the same number.
    """

    def __init__(self, keys: Keys, homes: ListOf[Home], rows: ListOf[int]) -> None:
        self._store, self._homes, self.rows = keys.store, homes, rows
        self._weights = [torch.zeros(homes[row].filled, device=keys.store.device) for row in rows]

    def __call__(self, layer: int, query: torch.Tensor, scale: float, sliding: int | None) -> None:
        """Queries [Hkv, T, G, D] of one layer; those that slide cannot look far."""
        if sliding is not None:
            return
        for weight, row in zip(self._weights, self.rows, strict=True):
            home = self._homes[row]
            cached = self._store[layer, 0, :, home.base : home.base + home.filled]
            weight.add_(attention(query[:, row] * scale, cached))

    def weights(self) -> list[np.ndarray]:
        """Of each that looked, float32 [n] of its cached tokens."""
        return [weight.cpu().numpy() for weight in self._weights]
