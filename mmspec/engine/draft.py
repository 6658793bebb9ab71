"""Asking the drafters: budgets out, one fused tree a sequence back. A drafter may fail alone."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, cast

import numpy as np

from mmspec.core.config import EngineConfig
from mmspec.core.drafter import Needs, Remembers, part
from mmspec.core.errors import CacheFullError, EngineFaultError
from mmspec.core.tree import TokenTree
from mmspec.engine.asking import Asking
from mmspec.engine.fusing import Fuser
from mmspec.engine.goodput import Ledger, spot
from mmspec.engine.routing import Router, dear, named
from mmspec.model.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Borrower, Budget, Drafter, Observation
    from mmspec.core.request import FinishReason
    from mmspec.core.sequence import Sequence
    from mmspec.engine.stats import Tally
    from mmspec.model.cache import KVCache


LARGE = 1024  # nodes of a tree that is stamped without a new array


class Panel:
    """All drafters of an engine, each under its address.

    Those whose guesses cost a model's passes (``runs_model``) are not asked for a sequence for
    which the others already promise ``enough`` tokens (None: as many as the fuser learns). Those
    that need ``keys`` get a view of ``cache``, once.

    Whatever a drafter raises ends its part in the request that made it raise, with a reason in
    the report; the request itself, and everyone else, goes on. So does one for whose memory there
    is no room, and one whose positions end. One that is silent because it does not pay is shown
    later, and many steps together, what it misses: then it costs next to nothing.

    Args:
        router: decides who watches a request; None: by rules alone. clock: seconds.
        fuser: makes one tree of several; None: their union.

    Attributes:
        spent: seconds inside of drafters so far.
    """

    def __init__(
        self, drafters: Mapping[str, Drafter], vocabulary: int, enough: float | None = math.inf,
        cache: KVCache | None = None, router: Router | None = None,
        clock: Callable[[], float] = time.perf_counter, fuser: Fuser | None = None,
    ) -> None:  # fmt: skip
        self._drafters = dict(drafters)
        self._enough, self._clock = enough, clock
        self.router = router or Router(self._drafters, EngineConfig(judge_rounds=0), Ledger())
        self._ledger = self.router.ledger
        self._bounds = self.router.bounds
        self._asking = Asking(self._drafters, vocabulary, self._bounds)
        self._fuser = fuser or Fuser()
        self.spent = 0.0
        # Those that cost next to nothing speak first, so that the others need not always.
        order = sorted(self._drafters, key=lambda address: dear(self._drafters[address]))
        self._speakers = [(list(self._drafters).index(one), one) for one in order]
        self._dear = {one for one in self._drafters if dear(self._drafters[one])}
        self._stamps = [_stamp(source, LARGE) for source in range(len(order))]
        self.addresses = tuple(self._drafters)
        self.needs = Needs()
        for drafter in self._drafters.values():
            self.needs = self.needs.join(drafter.needs)
            if drafter.needs.keys and cache is not None:
                cast("Borrower", drafter).borrow(Keys(cache))

    @property
    def held(self) -> int:
        """Bytes set aside for what drafters hold of sequences in flight."""
        return self._bounds.held

    def admit(self, sequence: Sequence, tokens: int, tally: Tally) -> None:
        """Set aside what drafters will hold of a sequence of so many tokens; may be called again.

        Raises:
            CacheFullError: there is no room, now, for the drafter whose law is to be transferred.
        """
        tally.off = dict(tally.route.off)
        watching = [one for one in self.addresses if _may(one, sequence, tally)]
        tally.off |= self._bounds.admit(sequence, tokens, watching)
        if sequence.request.speculation.transfer is not None:
            teacher = self.router.teacher(sequence.request)
            if teacher is not None and self._bounds.may_yet(teacher[0], sequence, tokens):
                raise CacheFullError(f"no room for {teacher[0]}, whose law is to be transferred")

    def ready(self, sequence: Sequence) -> bool:
        """Whether the next step need not wait for the drafter whose law is transferred."""
        if sequence.request.speculation.transfer is None or sequence.pending > 1:
            return True
        teacher = self.router.teacher(sequence.request)
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
        if all(one.request.speculation.transfer is None for one in sequences):
            return list(trees), [None] * len(trees)
        told: list[tuple[TokenTree, np.ndarray | None]] = []
        for sequence, tree in zip(sequences, trees, strict=True):
            if sequence.request.speculation.transfer is None:
                told.append((tree, None))
                continue
            teacher = self.router.teacher(sequence.request)
            if teacher is None or teacher[0] in tallies[sequence.id].off:
                raise EngineFaultError("the drafter whose law was to be transferred has failed")
            told.append(teacher[1].laws(sequence, tree))
        return [tree for tree, _ in told], [said for _, said in told]

    def draft(
        self, sequences: ListOf[Sequence], budgets: ListOf[Budget], tallies: Mapping[str, Tally]
    ) -> list[TokenTree]:
        """One tree a sequence, within its budget; the root alone where nobody has a guess."""
        if all(budget.nodes == 1 for budget in budgets):
            return [TokenTree.root(sequence.last) for sequence in sequences]
        groups = [
            trees or [TokenTree.root(sequence.last)]
            for sequence, trees in zip(
                sequences, self.guess(sequences, budgets, tallies), strict=True
            )
        ]
        return self._fuser.fuse_all(sequences, groups, budgets)

    def guess(
        self, sequences: ListOf[Sequence], budgets: ListOf[Budget], tallies: Mapping[str, Tally]
    ) -> list[list[TokenTree]]:
        """For each sequence the trees of those who have a guess, stamped with their number."""
        for sequence in sequences:
            for address, why in self._bounds.spent(sequence):
                self._asking.retire(address, sequence, tallies, why)
        guesses: list[list[TokenTree]] = [[] for _ in sequences]
        known = [tallies[sequence.id] for sequence in sequences]
        where = spot(sum(map(len, sequences)), len(sequences))
        heard = [
            self._heard(sequence, tally) if budget.nodes > 1 else ()
            for sequence, tally, budget in zip(sequences, known, budgets, strict=True)
        ]
        for source, address in self._speakers:
            speaks = [index for index, mine in enumerate(heard) if address in mine]
            if address in self._dear:
                price = self._ledger.asking(address, where)
                speaks = [
                    one
                    for one in speaks
                    if self._wanting(sequences[one], guesses[one], budgets[one], price)
                ]
            for index in speaks:
                self._remind(source, sequences[index], known[index])
            # A drafter may also fail over what it missed.
            speaks = [index for index in speaks if address not in known[index].off]
            if not speaks:
                continue
            asked = [sequences[index] for index in speaks]
            began = self._clock()
            trees = self._asking.trees(
                address, asked, [budgets[index] for index in speaks], tallies
            )
            took = self._charge(source, began, [known[index] for index in speaks], asked=True)
            if address in self._dear:
                self._ledger.ask(address, took)
            for index, tree in zip(speaks, trees, strict=True):
                if tree is not None and len(tree) > 1:
                    guesses[index].append(self._stamped(tree, source))
        return guesses

    def observe(
        self, sequences: ListOf[Sequence], seen: Observation, tallies: Mapping[str, Tally]
    ) -> None:
        """Show every drafter what the target committed to the sequences it watches."""
        known = [tallies[sequence.id] for sequence in sequences]
        heard = [self._heard(one, tally) for one, tally in zip(sequences, known, strict=True)]
        silent = [index for index, tally in enumerate(known) if tally.trial and tally.trial.quiet]
        for source, address in enumerate(self._drafters):
            for index in silent:
                if _may(address, sequences[index], known[index]) and _silent(source, known[index]):
                    missed = self._part(seen, [index], sequences)
                    self._owe(source, sequences[index], known[index], missed)
            watched = [index for index, mine in enumerate(heard) if address in mine]
            if not watched:
                continue
            watching = [sequences[index] for index in watched]
            began = self._clock()
            self._asking.show(address, watching, self._part(seen, watched, sequences), tallies)
            self._charge(source, began, [known[index] for index in watched])

    def learn(self, sequence: Sequence, tree: TokenTree, kept: np.ndarray) -> None:
        """Take in which guesses of a verified tree came true: ``kept``, the root first."""
        self._fuser.learn(sequence, tree, kept)

    def end(self, sequence: Sequence, reason: FinishReason, tally: Tally) -> None:
        """Tell those that keep texts how one ended, then have everybody free what it held."""
        for address in self.addresses:
            if _may(address, sequence, tally):
                self._asking.finish(address, sequence, reason)
        self._bounds.release(sequence.id)
        self._fuser.forget(sequence.id)
        for address in self._drafters:
            self._asking.forget(address, sequence.id)

    def clear(self) -> None:
        """Have every drafter forget the texts that are not in flight."""
        self._fuser.clear()
        for drafter in self._drafters.values():
            if isinstance(drafter, Remembers):
                drafter.clear()

    def _heard(self, sequence: Sequence, tally: Tally) -> Collection[str]:
        """Addresses of those who watch a sequence and are not silent."""
        asked, quiet = sequence.request.speculation, tally.trial.quiet if tally.trial else ()
        if not asked.enabled:
            return ()
        named = self.addresses if asked.drafters is None else asked.drafters
        return [
            address
            for source, address in enumerate(self.addresses)
            if address in named and address not in tally.off and source not in quiet
        ]

    def _wanting(
        self, sequence: Sequence, guesses: ListOf[TokenTree], budget: Budget, price: float | None
    ) -> bool:
        """Whether what was guessed so far promises too little to go without a model."""
        enough = self._fuser.enough(sequence, price) if self._enough is None else self._enough
        return self._fuser.expected(sequence, guesses, budget) < enough

    def _owe(self, source: int, sequence: Sequence, tally: Tally, seen: Observation) -> None:
        if tally.trial is not None and tally.trial.owe(source, seen):
            self._remind(source, sequence, tally)

    def _remind(self, source: int, sequence: Sequence, tally: Tally) -> None:
        """Show a drafter what it missed while it was silent, if anything: the price of silence."""
        missed = tally.trial.owed(source) if tally.trial is not None else None
        if missed is None:
            return
        began = self._clock()
        self._asking.show(self.addresses[source], [sequence], missed, {sequence.id: tally})
        self.spent += self._clock() - began

    def _stamped(self, tree: TokenTree, source: int) -> TokenTree:
        count = len(tree)
        stamp = self._stamps[source][:count] if count <= LARGE else _stamp(source, count)
        return TokenTree(tree.tokens, tree.parents, tree.scores, stamp)

    def _charge(
        self, source: int, began: float, whom: ListOf[Tally], *, asked: bool = False
    ) -> float:
        """Put down what a call took, for each sequence an equal part, which is returned."""
        took = self._clock() - began
        self.spent += took
        share = took / len(whom)
        for tally in whom:
            if tally.trial is not None:
                tally.trial.charge(source, share, asked=asked)
        return share

    @staticmethod
    def _part(seen: Observation, chosen: list[int], everyone: ListOf[Sequence]) -> Observation:
        return seen if len(chosen) == len(everyone) else part(seen, chosen)


def _may(address: str, sequence: Sequence, tally: Tally) -> bool:
    return address not in tally.off and named(address, sequence.request)


def _silent(source: int, tally: Tally) -> bool:
    return tally.trial is not None and tally.trial.silent(source)


def _stamp(source: int, count: int) -> np.ndarray:
    """The name of a source on so many nodes, uint8."""
    stamp = np.full(count, source, np.uint8)
    stamp.flags.writeable = False
    return stamp
