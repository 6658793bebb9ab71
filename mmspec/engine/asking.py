"""Asking one drafter, who may fail: a batch first, then whoever of it is not at fault."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mmspec.core.drafter import Keeper, part

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Budget, Drafter, Observation
    from mmspec.core.request import FinishReason
    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree
    from mmspec.engine.bounds import Bounds
    from mmspec.engine.stats import Tally

_log = logging.getLogger(__name__)


class Asking:
    """Whatever a drafter raises ends its part in the request that made it raise.

    Args:
        drafters: by address. vocabulary: ids from here on cannot be verified.
        bounds: gets back what was set aside for one whose part has ended.
    """

    def __init__(self, drafters: Mapping[str, Drafter], vocabulary: int, bounds: Bounds) -> None:
        self._drafters, self._vocabulary, self._bounds = drafters, vocabulary, bounds

    def trees(
        self,
        address: str,
        sequences: list[Sequence],
        budgets: list[Budget],
        tallies: Mapping[str, Tally],
    ) -> list[TokenTree | None]:
        """One tree a sequence; None: the drafter has failed, and is off for it."""
        told: list[TokenTree | None] = []
        for sequence, tree in zip(sequences, self._ask(address, sequences, budgets), strict=True):
            if isinstance(tree, Exception):
                self._silence(address, sequence, tallies, tree)
                told.append(None)
            else:
                told.append(tree)
        return told

    def show(
        self,
        address: str,
        sequences: ListOf[Sequence],
        seen: Observation,
        tallies: Mapping[str, Tally],
    ) -> None:
        """Let a drafter observe.

        After a failed batch it is unknown how far it got, so each of its sequences is forgotten
        before it is shown the step alone; nobody learns the same step twice.
        """
        drafter = self._drafters[address]
        try:
            drafter.observe(sequences, seen)
            return
        except Exception as error:  # noqa: BLE001  # a drafter may fail in any way
            if len(sequences) == 1:
                self._silence(address, sequences[0], tallies, error)
                return
            _log.debug("drafter %s failed on a batch; asking one by one", address, exc_info=error)
        for index, sequence in enumerate(sequences):
            try:
                drafter.forget(sequence.id)
                drafter.observe([sequence], part(seen, [index]))
            except Exception as alone:  # noqa: BLE001  # a drafter may fail in any way
                self._silence(address, sequence, tallies, alone)

    def retire(
        self, address: str, sequence: Sequence, tallies: Mapping[str, Tally], why: str
    ) -> None:
        """End a drafter's part in a sequence."""
        tallies[sequence.id].off[address] = why
        self._bounds.release(sequence.id, address)
        self.forget(address, sequence.id)

    def finish(self, address: str, sequence: Sequence, reason: FinishReason) -> None:
        """Tell a drafter that keeps texts how one ended."""
        drafter = self._drafters[address]
        try:
            if isinstance(drafter, Keeper):
                drafter.finish(sequence, reason)
        except Exception:  # noqa: BLE001  # a drafter may fail in any way
            _log.exception("drafter %s failed to keep a text", address)

    def forget(self, address: str, id: str) -> None:
        """Free what a drafter holds for a sequence."""
        try:
            self._drafters[address].forget(id)
        except Exception:  # noqa: BLE001  # a drafter may fail in any way
            _log.exception("drafter %s failed to forget", address)

    def _ask(
        self, address: str, sequences: list[Sequence], budgets: list[Budget]
    ) -> list[TokenTree | Exception]:
        """The drafter's trees; where the batch fails, each sequence on its own."""
        try:
            trees = self._drafters[address].draft(sequences, budgets)
            for sequence, budget, tree in zip(sequences, budgets, trees, strict=True):
                self._inspect(sequence, budget, tree)
        except Exception as error:  # noqa: BLE001  # a drafter may fail in any way
            if len(sequences) == 1:
                return [error]
            return [
                self._ask(address, [one], [budget])[0]
                for one, budget in zip(sequences, budgets, strict=True)
            ]
        return list(trees)

    def _inspect(self, sequence: Sequence, budget: Budget, tree: TokenTree) -> None:
        """Refuse a tree that could not be verified."""
        if tree.tokens.item(0) != sequence.last:
            raise ValueError("the tree's root is not the last decided token")
        deepest, least, most = tree.extent()
        if len(tree) > budget.nodes or deepest > max(budget.depth, 0):
            raise ValueError("the tree is larger than its budget")
        if least < 0 or most >= self._vocabulary:
            raise ValueError("the tree holds ids outside the vocabulary")

    def _silence(
        self, address: str, sequence: Sequence, tallies: Mapping[str, Tally], error: Exception
    ) -> None:
        _log.warning("drafter %s is off for %s", address, sequence.id, exc_info=error)
        self.retire(address, sequence, tallies, f"failed: {type(error).__name__}")
