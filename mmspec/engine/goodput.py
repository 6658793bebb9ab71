"""What a target pass costs, and what drafters bring for their time, as measured on this machine.

One ledger an engine, shared by all who ask: it holds seconds and counts by address, length and
batch, of the last requests together, and neither tokens nor names. All that a stranger can learn of
it is whether a drafter has lately paid for requests of about this length, to a factor of two.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

ENOUGH = 3  # plain rounds before a price is known
LAST = 5  # plain rounds, or drafts, whose median is the price, so that one stall is none
EVERY = 4  # rounds with drafts between plain ones until then: a short answer is to have few of them
STALE = 128  # and from then on
SHORT = 512  # tokens up to which attention is too small a part of a pass to tell lengths apart
MEASURED = 64  # rounds before a speed is known
SURE = 512  # rounds before it is known of more than a few requests
MEMORY = 1024  # rounds beyond which what was measured counts half


class Spot(NamedTuple):
    """Where a round of plain decoding has one price."""

    length: int  # half octaves of the mean context above ``SHORT``
    batch: int  # sequences


class Cell(NamedTuple):
    """For which requests a drafter's speed is told; coarse, so that it is soon known."""

    length: int  # octaves of the prompt
    batch: int  # octaves of the sequences in flight


def spot(tokens: int, batch: int) -> Spot:
    """Of ``batch`` sequences of ``tokens`` together."""
    mean = tokens / batch
    # Squared, octaves are half octaves.
    return Spot(int(mean * mean / (SHORT * SHORT)).bit_length(), batch)


def cell(prompt: int, batch: int) -> Cell:
    """Of a request with so many tokens of prompt, where ``batch`` sequences are in flight."""
    return Cell(prompt.bit_length(), batch.bit_length())


@dataclass(slots=True)
class _Price:
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=LAST))
    age: int = 0


@dataclass(slots=True)
class _Speed:
    rounds: float = 0.0
    accepted: float = 0.0
    cost: float = 0.0


class Ledger:
    """Prices of plain rounds by spot, and speeds of drafters by cell."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all that was measured."""
        self._prices: dict[Spot, _Price] = {}
        self._speeds: dict[tuple[str, Cell], _Speed] = {}
        self._turns: dict[Cell, int] = {}
        self._asks: dict[str, deque[float]] = {}

    def price(self, where: Spot) -> float | None:
        """Seconds of a round in which nothing is drafted; None: not known yet."""
        held = self._prices.get(where)
        return median(held.seconds) if held and len(held.seconds) >= ENOUGH else None

    def due(self, where: Spot) -> bool:
        """Whether the next round there should be plain, to be measured."""
        held = self._prices.get(where)
        if held is None:
            return False
        return held.age >= (EVERY if len(held.seconds) < ENOUGH else STALE)

    def plain(self, where: Spot, seconds: float) -> None:
        """A round in which nothing was drafted."""
        held = self._prices.setdefault(where, _Price())
        held.seconds.append(seconds)
        held.age = 0

    def drafted(self, where: Spot) -> None:
        """A round with drafts: the price there is one round older."""
        self._prices.setdefault(where, _Price()).age += 1

    def ask(self, address: str, seconds: float) -> None:
        """A model has drafted for one sequence, in so many seconds."""
        self._asks.setdefault(address, deque(maxlen=LAST)).append(seconds)

    def asking(self, address: str, where: Spot) -> float | None:
        """What asking a model costs, in target passes there; None: not known yet."""
        price, held = self.price(where), self._asks.get(address)
        if price is None or held is None or len(held) < ENOUGH:
            return None
        return median(held) * where.batch / price

    def feed(self, address: str, where: Cell, rounds: int, accepted: int, cost: float) -> None:
        """What a drafter did for one choice.

        Args:
            rounds: in which it was asked. accepted: tokens of its guesses.
            cost: of it, in tokens of plain decoding.
        """
        held = self._speeds.setdefault((address, where), _Speed())
        fade = 0.5 if held.rounds > MEMORY else 1.0
        held.rounds = held.rounds * fade + rounds
        held.accepted = held.accepted * fade + accepted
        held.cost = held.cost * fade + cost

    def speed(self, address: str, where: Cell, rounds: int = MEASURED) -> float | None:
        """What it pays: 1.0 is plain decoding; None: not known yet, by so many rounds."""
        held = self._speeds.get((address, where))
        if held is None or held.rounds < rounds:
            return None
        return pays(held.rounds, held.accepted, held.cost)

    def turn(self, where: Cell) -> int:
        """How many requests were routed there before this one."""
        self._turns[where] = self._turns.get(where, -1) + 1
        return self._turns[where]


def pays(rounds: float, accepted: float, cost: float) -> float:
    """How many times as fast as plain decoding a drafter alone would be; ``cost`` in plain tokens.

    Where all who speak pay at least x > 1 by this, so do they together.
    """
    return (rounds + accepted) / max(rounds + cost, 1e-9)
