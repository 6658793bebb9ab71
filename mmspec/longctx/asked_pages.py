"""What a drafter reads of the target's keys: what the target's last verification attended to.

The target's own query of a text's last verified token is at hand after every step, and costs
nothing. The pages on which its attention lies are those that matter now (TriForce,
arXiv:2404.11912, keeps such chunks for a target that drafts for itself). A drafter of one layer
that reads these alone is not misled by what looks alike in a long text, and what it reads does not
grow with the text.

Nothing is kept from step to step, so there is nothing to undo and nothing to restore.

Axes: n cached tokens, K positions read, Hkv key heads, G query heads of each, D their width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mmspec.longctx.pages import Measures, heaviest

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Keys
    from mmspec.core.sequence import Sequence


class AskedPages:
    """Reads one layer of the target, where the attention of ``layers`` lies.

    Args:
        measures: how much is read; its ``pages`` may be 0: everything.
    """

    def __init__(self, measures: Measures, reads: int, layers: tuple[int, ...]) -> None:
        self._measures, self._reads = measures, reads
        self.layers = layers if measures.pages else ()

    def read(
        self, sequence: Sequence, asked: ListOf[torch.Tensor], keys: Keys
    ) -> torch.Tensor | None:
        """Keys and values [2, Hkv, n or K, D]; None: the target does not know the sequence.

        A copy of what was attended to. A view of everything where that was not seen, as right
        behind a prompt, and where the text is as short.

        Args:
            asked: of each of ``layers``, the scaled queries [Hkv, G, D] of the last cached token;
                none: they were not seen.
        """
        whole = keys.read(sequence, self._reads)
        if whole is None or not asked or whole.shape[2] <= self.most:
            return whole
        known = [keys.read(sequence, layer) for layer in self.layers]
        read = positions(asked, [part[0] for part in known if part is not None], self._measures)
        return whole.index_select(2, torch.from_numpy(read).to(whole.device))

    @property
    def most(self) -> int:
        """How many keys are read at most, where what is attended to is seen."""
        told = self._measures
        return told.sinks + told.window + told.pages * told.page


def positions(
    asked: ListOf[torch.Tensor], keys: ListOf[torch.Tensor], measures: Measures
) -> np.ndarray:
    """Sinks, the heaviest pages and the last tokens, int64 [K], ascending.

    Args:
        asked: of each layer, scaled queries [Hkv, G, D]. keys: of the same, [Hkv, n, D].
    """
    weight = np.zeros(keys[0].shape[1], np.float32)
    for query, known in zip(asked, keys, strict=True):
        weight += (query @ known.mT).float().softmax(-1).sum((0, 1)).cpu().numpy()
    view = heaviest(weight, measures)
    first = np.arange(min(measures.sinks, len(weight)))
    return np.concatenate([first, view.far, np.arange(view.start, len(weight))])
