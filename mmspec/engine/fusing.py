"""Fusing a step's guesses, and learning from what the target made of them, for each tenant apart.

What is learned is read off a tenant's own texts, so it is the tenant's own: how often its guesses
come true shapes nobody else's trees. Texts with pictures and without are apart, too: they have
other drafters, and what quotes is worth little in the one and much in the other.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmspec.core.calibration import Calibration
from mmspec.core.fuse import UNION, Fusion, expected, fuse, fuse_all
from mmspec.engine.routing import may_leave_out, models

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as ListOf

    import numpy as np

    from mmspec.core.config import EngineConfig
    from mmspec.core.drafter import Budget, Drafter
    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree

TENANTS = 1024  # whose calibration is kept, 32 KiB each; the one heard from last stays longest
START = 2.5  # tokens that must be expected of what quotes, before anything is learned
LEAST = 0.25  # the same where a text begins, and now and then in it, however little models bring
AGAIN = 32  # rounds without a model after which it is asked once more
PRICE = 0.8  # target passes that asking a model is taken to cost until it was measured
SOON, SLOW = 0.4, 0.02  # weights of one round in what a sequence, and a tenant, has learned


@dataclass(slots=True)
class _Learned:
    """Of one tenant: how claims come true, and tokens that rounds with a model have kept."""

    calibration: Calibration = field(default_factory=Calibration)
    brings: float = (1.0 + START) * (1.0 + PRICE) - 1.0


class Fuser:
    """One way of fusing, and what it has learned.

    Args:
        how: the same for every request.
    """

    def __init__(self, how: Fusion = UNION) -> None:
        self._how = how
        self._tenants: OrderedDict[tuple[str, bool], _Learned] = OrderedDict()
        self._cells: dict[str, np.ndarray] = {}
        self._brings: dict[str, float] = {}
        self._waits: dict[str, int] = {}  # sequence id -> rounds without a model's guess

    @staticmethod
    def of(config: EngineConfig, drafters: Mapping[str, Drafter]) -> Fuser:
        """As configured, for these drafters by address."""
        enough = START if config.enough is None else config.enough
        return Fuser(Fusion(config.fusion, enough, models(drafters)))

    def fuse(self, sequence: Sequence, trees: ListOf[TokenTree], budget: Budget) -> TokenTree:
        """One tree of several; its cells are kept until its step is learned from."""
        return self.fuse_all([sequence], [trees], [budget])[0]

    def fuse_all(
        self, sequences: ListOf[Sequence], groups: ListOf[ListOf[TokenTree]],
        budgets: ListOf[Budget],
    ) -> list[TokenTree]:  # fmt: skip
        """One tree a sequence; in one call, where they share what was learned."""
        tables = [self._table(sequence) for sequence in sequences]
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
        return expected(trees, budget, self._how, self._table(sequence))

    def enough(self, sequence: Sequence, price: float | None = None) -> float:
        """Tokens expected of what quotes from which asking a model would not pay.

        Where rounds with a model keep g tokens at the price of 1 + p passes, and quoting alone e
        at the price of one, a model pays while (1 + g) / (1 + p) > 1 + e.

        Args:
            price: target passes that asking it costs; None: not known.
        """
        if self._how.arm != "calibrated":
            return self._how.switch
        cost = PRICE if price is None else price
        pays = (1.0 + self._brought(sequence)) / (1.0 + cost) - 1.0
        # Nobody learns from a model that is not asked; and who names it wants it asked.
        again = self._waits.get(sequence.id, AGAIN) >= AGAIN or not may_leave_out(sequence.request)
        return max(pays, LEAST) if again else pays

    def learn(self, sequence: Sequence, tree: TokenTree, kept: np.ndarray) -> None:
        """Of a verified tree, what came true; one that was cut since it was fused teaches nothing.

        Args:
            kept: int64, accepted nodes, the root first.
        """
        cells = self._cells.pop(sequence.id, None)
        if cells is None or len(cells) != len(tree):
            return
        learned = self._of(sequence)
        learned.calibration.learn(cells, tree.parents, kept)
        self._waits[sequence.id] = self._waits.get(sequence.id, AGAIN) + 1
        if tree.guessed_by(self._how.models):
            self._waits[sequence.id] = 0
            brought = len(kept) - 1
            before = self._brought(sequence)
            self._brings[sequence.id] = before + SOON * (brought - before)
            learned.brings += SLOW * (brought - learned.brings)

    def forget(self, id: str) -> None:
        """A sequence has ended."""
        self._cells.pop(id, None)
        self._brings.pop(id, None)
        self._waits.pop(id, None)

    def clear(self) -> None:
        """Begin anew with every tenant."""
        self._tenants.clear()

    def _brought(self, sequence: Sequence) -> float:
        """Tokens that rounds with a model keep of a sequence; at first, as with its tenant's."""
        return self._brings.get(sequence.id, self._of(sequence).brings)

    def _table(self, sequence: Sequence) -> Calibration | None:
        return self._of(sequence).calibration if self._how.arm == "calibrated" else None

    def _of(self, sequence: Sequence) -> _Learned:
        request = sequence.request
        key = request.tenant, bool(request.prompt.media)
        if key not in self._tenants:
            self._tenants[key] = _Learned()
        self._tenants.move_to_end(key)
        while len(self._tenants) > TENANTS:
            self._tenants.popitem(last=False)
        return self._tenants[key]
