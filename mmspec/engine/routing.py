"""From rules and measures to the drafters of one request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmspec.core.drafter import Selective, Teacher
from mmspec.core.errors import BadRequestError
from mmspec.engine.bounds import Bounds
from mmspec.engine.goodput import SURE, cell
from mmspec.engine.router import NAMES, READING, Route, Rules, choose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec.core.config import EngineConfig
    from mmspec.core.drafter import Drafter
    from mmspec.core.request import Request
    from mmspec.engine.goodput import Cell, Ledger

AGAIN = 16  # one request in so many is drafted for by who is not known to be the best


def dear(drafter: Drafter) -> bool:
    """Whether its guesses cost passes of a model."""
    return bool(getattr(drafter, "runs_model", False))


def models(drafters: Mapping[str, Drafter]) -> int:
    """Bit i says that drafter number i runs a model."""
    return sum(dear(drafter) << number for number, drafter in enumerate(drafters.values()))


def named(address: str, request: Request) -> bool:
    """Whether a request lets a drafter speak at all."""
    asked = request.speculation
    return asked.enabled and (asked.drafters is None or address in asked.drafters)


def judged(request: Request, config: EngineConfig) -> bool:
    """Whether what is measured decides who drafts for a request.

    Drafters that a request names itself are obeyed, and a law that is transferred must be heard.
    """
    return bool(config.judge_rounds) and request.speculation.enabled and may_leave_out(request)


def may_leave_out(request: Request) -> bool:
    """Whether a drafter need not be asked where that is not expected to pay."""
    asked = request.speculation
    return asked.adaptive and asked.drafters is None and asked.transfer is None


class Router:
    """Chooses who watches a request.

    Args:
        drafters: by address, in order of preference within a wing.
        config: says what is long, what must be paid, what may be asked and held.
        ledger: what was measured.

    Attributes:
        bounds: of memory and positions.
    """

    def __init__(
        self, drafters: Mapping[str, Drafter], config: EngineConfig, ledger: Ledger
    ) -> None:
        self._drafters, self._config, self.ledger = drafters, config, ledger
        self.bounds = Bounds(drafters, config.drafter_bytes)

    def route(self, request: Request, beside: int) -> Route:
        """Who watches a request, and how far its text is to be tilted.

        Args:
            beside: choices in flight already.

        Raises:
            BadRequestError: it asks for a transfer that it cannot have.
        """
        rules = self._allowed(request)
        eta = request.speculation.transfer
        if eta is not None:
            self._check_transfer(request, rules)
        able = self._able(rules)
        if not able:
            return Route(rules.name, rules.off, eta)
        if eta is not None:
            taught = self.teacher(request)
            chosen = taught[0] if taught else able[0]
        elif judged(request, self._config):
            where = cell(len(request.prompt.ids), beside + 1)
            best = self._best(able, where)
            if best is None:
                return Route(rules.name, rules.off | self._unpaid(able, where))
            chosen = best
        else:
            chosen = able[0]
        wing = chosen.partition(".")[0]
        name = rules.name if wing == READING else NAMES.get(wing, rules.name)
        others = [one for one in able if one != chosen]
        return Route(name, rules.off | dict.fromkeys(others, f"routed: {chosen} speaks"), eta)

    def teacher(self, request: Request) -> tuple[str, Teacher] | None:
        """Whose law a request's text is tilted by: the first with laws that may watch it.

        A function of the request: it has the same teacher to its end.
        """
        off = self._allowed(request).off
        for address, drafter in self._drafters.items():
            allowed = named(address, request) and address not in off
            if allowed and isinstance(drafter, Teacher):
                return address, drafter
        return None

    def _allowed(self, request: Request) -> Rules:
        """Whom the rules and the drafters themselves allow: a function of the request."""
        rules = choose(request, tuple(self._drafters), self._config.long_from)
        off = dict(rules.off)
        for address, drafter in self._drafters.items():
            if named(address, request) and address not in off:
                why = drafter.declines(request) if isinstance(drafter, Selective) else None
                why = why or self.bounds.ahead(address, request)
                off |= {} if why is None else {address: why}
        return rules._replace(off=off)

    def _able(self, rules: Rules) -> list[str]:
        """Of those whose guesses cost: who may be chosen, the first choice first."""
        return [
            address
            for wing in rules.wings
            for address, drafter in self._drafters.items()
            if address.partition(".")[0] == wing and dear(drafter) and address not in rules.off
        ]

    def _best(self, able: list[str], where: Cell) -> str | None:
        """Each until it is measured, then who pays best, now and then another; None: nobody.

        One request is enough to prefer another drafter, not to go without: there the next one
        could not show what it is worth.
        """
        turn = self.ledger.turn(where)
        speeds: dict[str, float] = {}
        for address in able:
            speed = self.ledger.speed(address, where)
            if speed is None:
                return address
            speeds[address] = speed
        if turn % AGAIN == 0:
            return able[turn // AGAIN % len(able)]
        best = max(able, key=speeds.__getitem__)
        doubtful = self.ledger.speed(best, where, SURE) is None
        return best if doubtful or speeds[best] >= self._config.judge_floor else None

    def _unpaid(self, able: list[str], where: Cell) -> dict[str, str]:
        speeds = {address: self.ledger.speed(address, where) or 1.0 for address in able}
        return {
            address: f"routed: pays {speed:.2f}x of plain for such requests"
            for address, speed in speeds.items()
        }

    def _check_transfer(self, request: Request, rules: Rules) -> None:
        param = "speculation.transfer"
        if not self._config.transfer:
            raise BadRequestError("this server allows no transfer (engine.transfer)", param)
        if self.teacher(request) is None:
            reasons = "; ".join(f"{address}: {why}" for address, why in rules.off.items())
            raise BadRequestError(f"no drafter has a law to transfer ({reasons})", param)
