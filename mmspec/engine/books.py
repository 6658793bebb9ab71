"""The price of a round, and who pays for what in it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mmspec.core.drafter import Budget
from mmspec.engine.goodput import cell, spot
from mmspec.engine.routing import judged
from mmspec.engine.stats import Tally
from mmspec.engine.trial import STALL, Terms, Trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence as ListOf

    from mmspec.core.config import EngineConfig
    from mmspec.core.request import Request
    from mmspec.core.tree import TokenTree
    from mmspec.engine.control import Controller
    from mmspec.engine.draft import Panel
    from mmspec.engine.flight import Flight
    from mmspec.engine.goodput import Ledger
    from mmspec.engine.router import Route


class Books:
    """Opens rounds, and the tallies of choices.

    Args:
        ledger: told what is measured. clock: seconds.
    """

    def __init__(
        self, config: EngineConfig, ledger: Ledger, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._config, self._ledger, self._clock = config, ledger, clock
        self._terms = Terms(config.judge_rounds, config.judge_floor)

    def tally(
        self, request: Request, addresses: tuple[str, ...], route: Route, beside: int
    ) -> Tally:
        """Of one choice of a request that came while ``beside`` others were in flight."""
        trial = None
        if addresses and judged(request, self._config):
            where = cell(len(request.prompt.ids), beside + 1)
            trial = Trial(addresses, self._terms, self._ledger, where)
        return Tally(addresses, request.speculation.report, route, trial)

    def open(self, flights: list[Flight], panel: Panel, timed: bool) -> Round:
        """A round of decoding begins.

        Args:
            timed: whether its seconds are its own. Beside a chunk of a prompt they are not: what a
                device still had to do for that would be waited for here.
        """
        return Round(flights, panel, self._ledger, self._clock, timed=timed)


class Round:
    """One step of those who decode, on the clock."""

    def __init__(
        self,
        flights: list[Flight],
        panel: Panel,
        ledger: Ledger,
        clock: Callable[[], float],
        *,
        timed: bool,
    ) -> None:
        self._flights, self._panel, self._timed = flights, panel, timed
        self._ledger, self._clock = ledger, clock
        self._trials = [one.tally.trial for one in flights if one.tally.trial is not None]
        self._where = spot(sum(len(one.sequence) for one in flights), len(flights))
        self._began, self._spent = clock(), panel.spent

    def budgets(self, controller: Controller) -> list[Budget]:
        """How large each tree may be: a root alone, where the price of a plain round is due."""
        if self._measures():
            return [Budget(1, 0)] * len(self._flights)
        return [one.budget(controller, len(self._flights)) for one in self._flights]

    def close(self, trees: ListOf[TokenTree]) -> list[str]:
        """The round is over, and told; addresses of those who fall silent by it, once a choice."""
        if not self._trials:
            return []
        seconds = self._clock() - self._began - (self._panel.spent - self._spent)
        nodes = sum(map(len, trees)) - len(trees)
        if nodes:
            self._ledger.drafted(self._where)
        elif self._timed:
            self._ledger.plain(self._where, seconds)
        price = self._ledger.price(self._where) if self._timed else None
        silenced: list[str] = []
        for trial in self._trials:
            if price is None:
                silenced += trial.close(None, 0.0)
            else:
                # What the trees cost beyond their roots is shared among the nodes.
                excess = min(seconds - price, STALL * price) / max(nodes, 1)
                silenced += trial.close(price / len(trees), excess)
        return silenced

    def _measures(self) -> bool:
        """Never where somebody asked for drafts by name: those are not ours to leave out."""
        bound = any(
            one.tally.trial is None and one.sequence.request.speculation.enabled
            for one in self._flights
        )
        able = self._timed and bool(self._trials) and not bound
        return able and self._ledger.due(self._where)
