"""Which drafters pay for one choice. Who does not falls silent, and is heard again later.

A drafter pays for its own time and for the time that its nodes take in the verify; it is paid in
accepted tokens, each worth what a token of plain decoding costs. Everything is counted in such
tokens. A round counts for a drafter that was asked and did put a node in the tree, or took more of
the time than is ``FREE``: one that waits for its moment at no cost is never judged for waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from mmspec.engine.goodput import pays
from mmspec.engine.settle import together

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Observation
    from mmspec.engine.goodput import Cell, Ledger

PROBE = 16  # rounds for which a silent drafter is heard again
PAUSE = 256  # rounds of the first silence; each probe that fails doubles it
LATE = 64  # tokens that a silent drafter may be behind: read together they cost little
FREE = 0.01  # of a plain token: time that is not worth judging
STALL = 8.0  # plain tokens: more than that in one round says something of the machine, not of it


class Terms(NamedTuple):
    """On which drafters speak: judged after ``rounds``, to pay at least ``floor``."""

    rounds: int
    floor: float


@dataclass(slots=True)
class _Hearing:
    """Of one drafter: its round, its window, its silence, and what it has not been shown."""

    need: int
    spent: float = 0.0
    asked: bool = False
    rounds: int = 0
    accepted: int = 0
    cost: float = 0.0
    silent: int = 0  # rounds left
    pause: int = PAUSE
    reason: str = ""
    owed: list[Observation] = field(default_factory=list)
    late: int = 0

    def speed(self, lent: int = 0) -> float:
        return pays(self.rounds, self.accepted + lent, self.cost)

    def restart(self) -> None:
        self.rounds, self.accepted, self.cost = 0, 0, 0.0


class Trial:
    """The hearings of all drafters, by their number as a source.

    Args:
        where: for which requests the ledger is told of what is measured.

    Attributes:
        quiet: those that are not to be asked now.
    """

    def __init__(self, addresses: ListOf[str], terms: Terms, ledger: Ledger, where: Cell) -> None:
        self._addresses, self._terms = addresses, terms
        self._ledger, self._where = ledger, where
        self._hearings = [_Hearing(terms.rounds) for _ in addresses]
        self.quiet: set[int] = set()
        self._drafted: ListOf[int] = ()
        self._accepted: ListOf[int] = ()
        self._rounds = 0
        self._counted = [False] * len(addresses)

    def silent(self, source: int) -> bool:
        """Whether it is not to be asked now."""
        return source in self.quiet

    def reasons(self) -> dict[str, str]:
        """Address -> why it was found not to pay, of those that have not paid since."""
        pairs = zip(self._addresses, self._hearings, strict=True)
        return {address: one.reason for address, one in pairs if one.reason}

    def charge(self, source: int, seconds: float, *, asked: bool = False) -> None:
        """Time that a drafter took for this choice in this round."""
        held = self._hearings[source]
        held.spent += seconds
        held.asked |= asked

    def saw(self, drafted: ListOf[int], accepted: ListOf[int]) -> None:
        """Nodes of this round's tree by source, and those of them that were kept."""
        self._drafted, self._accepted = drafted, accepted

    def owe(self, source: int, seen: Observation) -> bool:
        """Keep what a silent drafter is not shown yet; whether it is much by now."""
        held = self._hearings[source]
        held.owed.append(seen)
        held.late += len(seen.tokens)
        return held.late >= LATE

    def owed(self, source: int) -> Observation | None:
        """All that it was not shown; None: nothing. It counts as shown then."""
        held = self._hearings[source]
        if not held.owed:
            return None
        seen, held.owed, held.late = together(held.owed), [], 0
        return seen

    def close(self, share: float | None, node: float) -> list[str]:
        """End a round; who falls silent by it.

        Args:
            share: seconds of a plain token; None: unknown, and the round counts for nobody.
            node: seconds that the verify took longer for each drafted node.
        """
        self._rounds += 1
        for source, held in enumerate(self._hearings):
            if held.silent:
                held.silent -= 1
                if not held.silent:
                    self.quiet.discard(source)
            elif share and held.asked:
                self._count(source, share, node)
            held.spent, held.asked = 0.0, False
        self._drafted = self._accepted = ()
        return self._judge() if share else []

    def finish(self, off: Collection[str]) -> None:
        """The choice has ended: tell the ledger what it has not been told.

        Args:
            off: addresses of those who did not watch it, or failed.
        """
        for source, held in enumerate(self._hearings):
            if held.rounds:
                self._tell(source)
            elif self._counted[source] or self._addresses[source] in off:
                continue
            elif self._rounds >= PROBE:
                # Never asked, or never with a word: no slower than plain, and no faster.
                self._ledger.feed(self._addresses[source], self._where, self._rounds, 0, 0.0)

    def _count(self, source: int, share: float, node: float) -> None:
        held = self._hearings[source]
        nodes = self._drafted[source] if self._drafted else 0
        if not nodes and held.spent <= FREE * share:
            return
        held.rounds += 1
        held.accepted += self._accepted[source] if nodes else 0
        held.cost += min(held.spent / share, STALL) + min(nodes * node / share, STALL)

    def _judge(self) -> list[str]:
        full = [
            source
            for source, held in enumerate(self._hearings)
            if not held.silent and held.rounds >= held.need
        ]
        full.sort(key=lambda source: self._hearings[source].speed())
        silenced: list[str] = []
        freed = 0  # tokens of those that just fell silent: others might have said them too
        for source in full:
            held = self._hearings[source]
            if held.speed() >= self._terms.floor:
                self._tell(source)
                held.need, held.pause, held.reason = self._terms.rounds, PAUSE, ""
            elif held.speed(freed) < self._terms.floor:
                freed += held.accepted
                self._silence(source)
                silenced.append(self._addresses[source])
            else:
                held.restart()
        if freed:
            for held in self._hearings:
                held.restart()
        return silenced

    def _silence(self, source: int) -> None:
        held = self._hearings[source]
        held.reason = f"pays {held.speed():.2f}x of plain over {held.rounds} rounds"
        self._tell(source)
        held.silent, held.need = held.pause, min(PROBE, self._terms.rounds)
        self.quiet.add(source)
        held.pause *= 2

    def _tell(self, source: int) -> None:
        held = self._hearings[source]
        self._counted[source] = True
        self._ledger.feed(
            self._addresses[source], self._where, held.rounds, held.accepted, held.cost
        )
        held.restart()
