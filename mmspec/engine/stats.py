"""Counting: what speculation did for one choice, and what the engine did for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmspec.core.request import RoundLog, SpeculationReport
from mmspec.engine.router import UNROUTED, Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mmspec.core.tree import TokenTree
    from mmspec.engine.scheduler import Scheduler
    from mmspec.engine.trial import Trial
    from mmspec.model.cache import KVCache
    from mmspec.model.encoder import Encoder


class EngineStats(msgspec.Struct, kw_only=True):
    """Running totals since the engine was built, and gauges of this moment."""

    steps: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0  # prompt tokens found in the prefix cache
    output_tokens: int = 0
    passes: int = 0  # target passes after prefill, one a sequence and step
    drafts: int = 0  # of those, passes over at least one drafted node
    drafted: int = 0  # nodes of trees, roots excluded
    accepted: int = 0
    finished: dict[str, int] = {}  # finish reason -> choices
    routed: dict[str, int] = {}  # route -> choices
    silenced: dict[str, int] = {}  # address -> how often it fell silent for not paying
    running: int = 0
    waiting: int = 0
    cache_slots: int = 0
    cache_used: int = 0
    drafter_bytes: int = 0  # set aside for what drafters hold of sequences in flight
    model_seconds: float = 0.0
    step_seconds: float = 0.0
    vision_seconds: float = 0.0  # encoding pictures, beside the steps
    picture_hits: int = 0  # pictures of admitted prompts that were encoded already, or about to be
    picture_misses: int = 0  # those the vision tower had to be run for
    picture_bytes: int = 0  # features held now
    draft_seconds: float = 0.0  # drafters drafting and observing, fusing included
    accepted_at: list[int] = []  # [k]: passes that kept at least k + 1 drafted tokens

    def step(self, seconds: float) -> None:
        """One step of the engine."""
        self.steps += 1
        self.step_seconds += seconds

    def admit(self, prompt: int, reused: int) -> None:
        """One choice begins: tokens of its prompt, and those of them found in the prefix cache."""
        self.prompt_tokens += prompt
        self.reused_tokens += reused

    def count(self, proposed: int, accepted: int) -> None:
        """One target pass over a tree of ``proposed`` drafted nodes, ``accepted`` of them kept."""
        self.passes += 1
        self.drafts += proposed > 0
        self.drafted += proposed
        self.accepted += accepted
        self.output_tokens += accepted + 1
        if accepted > len(self.accepted_at):
            self.accepted_at += [0] * (accepted - len(self.accepted_at))
        for position in range(accepted):
            self.accepted_at[position] += 1

    def send(self, route: str, choices: int) -> None:
        """Choices that were admitted by a route."""
        self.routed[route] = self.routed.get(route, 0) + choices

    def see(self, scheduler: Scheduler, cache: KVCache, encoder: Encoder) -> None:
        """Read the gauges."""
        self.running, self.waiting = len(scheduler.running), len(scheduler.waiting)
        self.cache_slots, self.cache_used = cache.slots, cache.used
        self.vision_seconds = encoder.seconds
        self.picture_hits, self.picture_misses = encoder.hits, encoder.misses
        self.picture_bytes = encoder.bytes

    def silence(self, addresses: Iterable[str]) -> None:
        """Drafters that were found not to pay, once a choice."""
        for address in addresses:
            self.silenced[address] = self.silenced.get(address, 0) + 1


@dataclass(slots=True)
class Tally:
    """Counts of one choice; becomes its report.

    Attributes:
        sources: addresses of the drafters. route: who of them watches.
        logged: whether every round is kept, not only sums.
        trial: who pays for it; None: nobody is judged.
    """

    sources: tuple[str, ...]
    logged: bool = False
    route: Route = UNROUTED
    trial: Trial | None = None
    rounds: int = 0
    emitted: int = 0
    drafted: np.ndarray = field(init=False)
    accepted: np.ndarray = field(init=False)
    off: dict[str, str] = field(init=False)
    log: RoundLog = field(default_factory=lambda: RoundLog(proposed=[], depth=[], accepted=[]))

    def __post_init__(self) -> None:
        self.off = dict(self.route.off)
        self.drafted = np.zeros(len(self.sources), np.int64)
        self.accepted = np.zeros(len(self.sources), np.int64)

    def record(self, tree: TokenTree, kept: np.ndarray, emitted: int) -> None:
        """One verified tree: which nodes were kept, how many tokens came out."""
        self.rounds += 1
        self.emitted += emitted
        if len(tree) > 1:
            bins = len(self.sources)
            drafted = np.bincount(tree.source[1:], minlength=bins)
            accepted = np.bincount(tree.source[kept[1:]], minlength=bins)
            self.drafted += drafted
            self.accepted += accepted
            if self.trial is not None:
                self.trial.saw(drafted.tolist(), accepted.tolist())
        if self.logged:
            self.log.proposed.append(len(tree) - 1)
            self.log.depth.append(int(tree.depths().max()))
            self.log.accepted.append(len(kept) - 1)

    def finish(self) -> None:
        """The choice has ended; nothing more is counted."""
        if self.trial is not None:
            self.trial.finish(self.off)

    def report(self) -> SpeculationReport:
        """The counts as the client sees them."""
        return SpeculationReport(
            rounds=self.rounds,
            drafted=int(self.drafted.sum()),
            accepted=int(self.accepted.sum()),
            tau=self.emitted / self.rounds if self.rounds else 0.0,
            by_source={
                source: (int(self.drafted[index]), int(self.accepted[index]))
                for index, source in enumerate(self.sources)
                if self.drafted[index]
            },
            off_reasons=(self.trial.reasons() if self.trial else {}) | self.off,
            route=self.route.name,
            lossless=not self.route.eta,
            rag_mode="lossless" if self.route.eta is None else "transfer",
            eta=self.route.eta or 0.0,
            log=self.log if self.logged else None,
        )
