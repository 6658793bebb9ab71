"""Asking the drafters: budgets out, one fused tree a sequence back. A drafter may fail alone."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from mmspec.core.drafter import Budget, Keeper, Needs, Remembers, Selective, Teacher, part
from mmspec.core.errors import BadRequestError, EngineFaultError
from mmspec.core.fuse import fuse
from mmspec.core.tree import TokenTree
from mmspec.engine.router import Route, choose
from mmspec.model.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Borrower, Drafter, Observation
    from mmspec.core.request import FinishReason, Request
    from mmspec.core.sequence import Sequence
    from mmspec.engine.stats import Tally
    from mmspec.model.cache import KVCache

_log = logging.getLogger(__name__)


def promised(trees: ListOf[TokenTree]) -> float:
    """Drafted tokens that the most promising of some trees expects to be kept."""
    return max((float(np.exp(tree.scores[1:]).sum()) for tree in trees), default=0.0)


class Panel:
    """All drafters of an engine, each under its address.

    Those whose guesses cost a model's passes (``runs_model``) are not asked for a sequence for
    which the others already promise ``enough`` tokens. Those that need ``keys`` get a view of
    ``cache``, once.

    Whatever a drafter raises ends its part in the request that made it raise, with a reason in
    the report; the request itself, and everyone else, goes on.
    """

    def __init__(
        self, drafters: Mapping[str, Drafter], vocabulary: int, enough: float = math.inf,
        cache: KVCache | None = None,
    ) -> None:  # fmt: skip
        self._drafters = dict(drafters)
        self._vocabulary, self._enough = vocabulary, enough
        # Those that cost next to nothing speak first, so that the others need not always.
        order = sorted(self._drafters, key=lambda address: self._dear(self._drafters[address]))
        self._speakers = [(list(self._drafters).index(one), one) for one in order]
        self.addresses = tuple(self._drafters)
        self.needs = Needs()
        for drafter in self._drafters.values():
            self.needs = self.needs.join(drafter.needs)
            if drafter.needs.keys and cache is not None:
                cast("Borrower", drafter).borrow(Keys(cache))

    def route(self, request: Request, transfer: bool) -> Route:
        """Who watches a request, and how far its text is to be tilted.

        Args:
            transfer: whether requests may ask for that.

        Raises:
            BadRequestError: it asks for a transfer that it cannot have.
        """
        route = self._watched(request)
        if route.eta is not None:
            param = "speculation.transfer"
            if not transfer:
                raise BadRequestError("this server allows no transfer (engine.transfer)", param)
            if self._teacher(request) is None:
                reasons = "; ".join(f"{address}: {why}" for address, why in route.off.items())
                raise BadRequestError(f"no drafter has a law to transfer ({reasons})", param)
        return route

    def ready(self, sequence: Sequence) -> bool:
        """Whether the next step need not wait for the drafter whose law is transferred."""
        if sequence.request.speculation.transfer is None or sequence.pending > 1:
            return True
        teacher = self._teacher(sequence.request)
        try:
            return teacher is None or teacher[1].ready(sequence)
        except Exception:  # noqa: BLE001  # a drafter may fail in any way; ``laws`` will tell
            return True

    def laws(
        self, sequences: ListOf[Sequence], trees: ListOf[TokenTree], tallies: Mapping[str, Tally]
    ) -> tuple[list[TokenTree], list[np.ndarray | None]]:
        """Where a request asks for transfer: the tree as far as the drafter reads it, and its laws.

        Raises:
            EngineFaultError: there are no laws to be had: the text must not go on without.
        """
        told: list[tuple[TokenTree, np.ndarray | None]] = []
        for sequence, tree in zip(sequences, trees, strict=True):
            if sequence.request.speculation.transfer is None:
                told.append((tree, None))
                continue
            teacher = self._teacher(sequence.request)
            if teacher is None or teacher[0] in tallies[sequence.id].off:
                raise EngineFaultError("the drafter whose law was to be transferred has failed")
            told.append(teacher[1].laws(sequence, tree))
        return [tree for tree, _ in told], [said for _, said in told]

    def draft(
        self, sequences: ListOf[Sequence], budgets: ListOf[Budget], tallies: Mapping[str, Tally]
    ) -> list[TokenTree]:
        """One tree a sequence, within its budget; the root alone where nobody has a guess."""
        if all(budget.nodes == 1 for budget in budgets):
            return [TokenTree.root(int(sequence.tokens[-1])) for sequence in sequences]
        guesses: list[list[TokenTree]] = [[] for _ in sequences]
        for source, address in self._speakers:
            drafter = self._drafters[address]
            sated = self._enough if self._dear(drafter) else math.inf
            speaks = [
                index
                for index, sequence in enumerate(sequences)
                if budgets[index].nodes > 1
                and self._may(address, sequence, tallies)
                and promised(guesses[index]) < sated
            ]
            asked = [(sequences[index], budgets[index]) for index in speaks]
            for index, tree in zip(speaks, self._ask(drafter, asked), strict=True):
                if isinstance(tree, Exception):
                    self._silence(address, sequences[index], tallies, tree)
                elif len(tree) > 1:
                    stamp = np.full(len(tree), source, np.uint8)
                    guesses[index].append(replace(tree, source=stamp))
        return [
            fuse(trees, budget) if trees else TokenTree.root(int(sequence.tokens[-1]))
            for sequence, trees, budget in zip(sequences, guesses, budgets, strict=True)
        ]

    def observe(
        self, sequences: ListOf[Sequence], seen: Observation, tallies: Mapping[str, Tally]
    ) -> None:
        """Show every drafter what the target committed to the sequences it watches."""
        for address, drafter in self._drafters.items():
            watched = [
                index
                for index, sequence in enumerate(sequences)
                if self._may(address, sequence, tallies)
            ]
            if not watched:
                continue
            shown = seen if len(watched) == len(sequences) else part(seen, watched)
            try:
                drafter.observe([sequences[index] for index in watched], shown)
            except Exception as error:  # noqa: BLE001  # a drafter may fail in any way
                self._retell(address, sequences, watched, seen, tallies, error)

    def _retell(
        self,
        address: str,
        sequences: ListOf[Sequence],
        watched: list[int],
        seen: Observation,
        tallies: Mapping[str, Tally],
        error: Exception,
    ) -> None:
        """After a failed batch: find whose fault it was, and let the others start over.

        How far the batch got is unknown, so each of its sequences is forgotten before it is shown
        the step alone; nobody learns the same step twice.
        """
        if len(watched) == 1:
            self._silence(address, sequences[watched[0]], tallies, error)
            return
        _log.debug("drafter %s failed on a batch; asking one by one", address, exc_info=error)
        drafter = self._drafters[address]
        for index in watched:
            try:
                drafter.forget(sequences[index].id)
                drafter.observe([sequences[index]], part(seen, [index]))
            except Exception as alone:  # noqa: BLE001  # a drafter may fail in any way
                self._silence(address, sequences[index], tallies, alone)

    def end(self, sequence: Sequence, reason: FinishReason, tally: Tally) -> None:
        """Tell those that keep texts how one ended, then have everybody free what it held."""
        for address, drafter in self._drafters.items():
            if isinstance(drafter, Keeper) and self._may(address, sequence, {sequence.id: tally}):
                try:
                    drafter.finish(sequence, reason)
                except Exception:  # noqa: BLE001  # a drafter may fail in any way
                    _log.exception("drafter %s failed to keep a text", address)
        self._forget(sequence.id)

    def _forget(self, id: str) -> None:
        for address, drafter in self._drafters.items():
            try:
                drafter.forget(id)
            except Exception:  # noqa: BLE001  # a drafter may fail in any way
                _log.exception("drafter %s failed to forget", address)

    def clear(self) -> None:
        """Have every drafter forget the texts that are not in flight."""
        for drafter in self._drafters.values():
            if isinstance(drafter, Remembers):
                drafter.clear()

    def _ask(
        self, drafter: Drafter, asked: list[tuple[Sequence, Budget]]
    ) -> list[TokenTree | Exception]:
        """The drafter's trees; where the batch fails, each sequence on its own."""
        if not asked:
            return []
        try:
            trees = drafter.draft([one for one, _ in asked], [budget for _, budget in asked])
            for (sequence, budget), tree in zip(asked, trees, strict=True):
                self._inspect(sequence, budget, tree)
        except Exception as error:  # noqa: BLE001  # a drafter may fail in any way
            if len(asked) == 1:
                return [error]
            return [self._ask(drafter, [one])[0] for one in asked]
        return list(trees)

    def _inspect(self, sequence: Sequence, budget: Budget, tree: TokenTree) -> None:
        """Refuse a tree that could not be verified."""
        if tree.tokens[0] != sequence.tokens[-1]:
            raise ValueError("the tree's root is not the last decided token")
        if len(tree) > budget.nodes or (len(tree) > 1 and tree.depths().max() > budget.depth):
            raise ValueError("the tree is larger than its budget")
        if tree.tokens.min() < 0 or tree.tokens.max() >= self._vocabulary:
            raise ValueError("the tree holds ids outside the vocabulary")

    @staticmethod
    def _dear(drafter: Drafter) -> bool:
        return bool(getattr(drafter, "runs_model", False))

    def _may(self, address: str, sequence: Sequence, tallies: Mapping[str, Tally]) -> bool:
        return self._named(address, sequence.request) and address not in tallies[sequence.id].off

    @staticmethod
    def _named(address: str, request: Request) -> bool:
        asked = request.speculation
        return asked.enabled and (asked.drafters is None or address in asked.drafters)

    def _watched(self, request: Request) -> Route:
        """By whom, as the rules and the drafters themselves have it: a function of the request."""
        name, off, _ = choose(request, self.addresses)
        off = dict(off)
        for address, drafter in self._drafters.items():
            if self._named(address, request) and address not in off:
                why = drafter.declines(request) if isinstance(drafter, Selective) else None
                off |= {} if why is None else {address: why}
        return Route(name, off, request.speculation.transfer)

    def _teacher(self, request: Request) -> tuple[str, Teacher] | None:
        """Whose law a request's text is tilted by: the first drafter with laws that watches it."""
        off = self._watched(request).off
        for address, drafter in self._drafters.items():
            watches = self._named(address, request) and address not in off
            if watches and isinstance(drafter, Teacher):
                return address, drafter
        return None

    def _silence(
        self, address: str, sequence: Sequence, tallies: Mapping[str, Tally], error: Exception
    ) -> None:
        _log.warning("drafter %s is off for %s", address, sequence.id, exc_info=error)
        tallies[sequence.id].off[address] = f"failed: {type(error).__name__}"
        try:
            self._drafters[address].forget(sequence.id)
        except Exception:  # noqa: BLE001  # a drafter may fail in any way
            _log.exception("drafter %s failed to forget", address)
