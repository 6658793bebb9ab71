"""Fusing a step's guesses, and learning from what the target made of them, for each tenant apart.

What is learned is read off a tenant's own texts, so it is the tenant's own: how often its guesses
come true shapes nobody else's trees.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from mmspec.core.calibration import Calibration
from mmspec.core.fuse import UNION, Fusion, expected, fuse, fuse_all
from mmspec.engine.routing import models

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as ListOf

    import numpy as np

    from mmspec.core.config import EngineConfig
    from mmspec.core.drafter import Budget, Drafter
    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree

TENANTS = 1024  # whose calibration is kept, 32 KiB each; the one heard from last stays longest


class Fuser:
    """One way of fusing, and what it has learned.

    Args:
        how: the same for every request.
    """

    def __init__(self, how: Fusion = UNION) -> None:
        self._how = how
        self._tenants: OrderedDict[str, Calibration] = OrderedDict()
        self._cells: dict[str, np.ndarray] = {}

    @staticmethod
    def of(config: EngineConfig, drafters: Mapping[str, Drafter]) -> Fuser:
        """As configured, for these drafters by address."""
        return Fuser(Fusion(config.fusion, config.enough, models(drafters)))

    def fuse(self, sequence: Sequence, trees: ListOf[TokenTree], budget: Budget) -> TokenTree:
        """One tree of several; its cells are kept until its step is learned from."""
        return self.fuse_all([sequence], [trees], [budget])[0]

    def fuse_all(
        self, sequences: ListOf[Sequence], groups: ListOf[ListOf[TokenTree]],
        budgets: ListOf[Budget],
    ) -> list[TokenTree]:  # fmt: skip
        """One tree a sequence; in one call, where they share what was learned."""
        tables = [self._of(sequence) for sequence in sequences]
        if all(table is tables[0] for table in tables):
            fused = fuse_all(groups, budgets, self._how, tables[0])
        else:
            fused = [
                fuse(trees, budget, self._how, table)
                for trees, budget, table in zip(groups, budgets, tables, strict=True)
            ]
        for sequence, (_, cells) in zip(sequences, fused, strict=True):
            if cells is None:
                self._cells.pop(sequence.id, None)
            else:
                self._cells[sequence.id] = cells
        return [tree for tree, _ in fused]

    def expected(self, sequence: Sequence, trees: ListOf[TokenTree], budget: Budget) -> float:
        """Drafted tokens that some trees can be expected to have kept."""
        return expected(trees, budget, self._how, self._of(sequence))

    def learn(self, sequence: Sequence, tree: TokenTree, kept: np.ndarray) -> None:
        """Of a verified tree, what came true; one that was cut since it was fused teaches nothing.

        Args:
            kept: int64, accepted nodes, the root first.
        """
        cells = self._cells.pop(sequence.id, None)
        calibration = self._of(sequence)
        if cells is not None and calibration is not None and len(cells) == len(tree):
            calibration.learn(cells, tree.parents, kept)

    def forget(self, id: str) -> None:
        """A sequence has ended."""
        self._cells.pop(id, None)

    def clear(self) -> None:
        """Begin anew with every tenant."""
        self._tenants.clear()

    def _of(self, sequence: Sequence) -> Calibration | None:
        if self._how.arm != "calibrated":
            return None
        tenant = sequence.request.tenant
        if tenant not in self._tenants:
            self._tenants[tenant] = Calibration()
        self._tenants.move_to_end(tenant)
        while len(self._tenants) > TENANTS:
            self._tenants.popitem(last=False)
        return self._tenants[tenant]
