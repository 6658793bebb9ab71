"""The loop: plan, draft, fuse, verify, commit, tell."""

from __future__ import annotations

import logging
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.errors import BadRequestError
from mmspec.core.logprobs import logprobs
from mmspec.core.sequence import Sequence
from mmspec.core.stopwatch import Stopwatch
from mmspec.engine.admit import check_request, new_cache
from mmspec.engine.books import Books
from mmspec.engine.control import ConstantController, Controller
from mmspec.engine.draft import Panel
from mmspec.engine.fault import public
from mmspec.engine.flight import Flight
from mmspec.engine.fusing import Fuser
from mmspec.engine.goodput import Ledger
from mmspec.engine.judge import judge
from mmspec.engine.routing import Router
from mmspec.engine.scheduler import Scheduler
from mmspec.engine.score import score
from mmspec.engine.settle import observation, reading
from mmspec.engine.stats import EngineStats
from mmspec.model.batch import Batch, pack_trees
from mmspec.model.cache import prefix_of
from mmspec.model.encoder import Encoder
from mmspec.model.prefill import Prefill

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mmspec.core.config import EngineConfig
    from mmspec.core.drafter import Drafter
    from mmspec.core.request import Delta, FinishReason, Request, TokenLogprob
    from mmspec.core.tree import TokenTree
    from mmspec.core.verify import Verdict
    from mmspec.engine.stats import Tally
    from mmspec.model.target import Output, Target

_log = logging.getLogger(__name__)
REACH = 16  # trees up to this deep share one division of keys, so bits do not depend on the budget
PATIENCE = 0.02  # seconds a step with nothing to do waits for a picture; a cancel waits as long


class Engine:
    """Synchronous, one thread, no I/O: ``submit``, ``step`` while ``busy``, ``cancel``.

    Args:
        target: the model. config: limits and budgets. drafters: address -> drafter.
        controller: how large trees may be; None: the configured constant.
        clock: seconds, by which it is measured what pays.

    Attributes:
        ledger: what was measured of the target and the drafters, over all requests.
    """

    def __init__(
        self,
        target: Target,
        config: EngineConfig,
        drafters: Mapping[str, Drafter],
        controller: Controller | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.target, self.config = target, config
        self._stats, self.drafting, self.ledger = EngineStats(), Stopwatch(), Ledger()
        self._books = Books(config, self.ledger, clock)
        self.encoder = Encoder(target.encode, config.picture_cache_bytes, target.device)
        self._controller = controller or ConstantController(config)
        self._reach = max(REACH, config.max_depth)
        self.cache = new_cache(target, config)
        router, fuser = Router(drafters, config, self.ledger), Fuser.of(config, drafters)
        vocabulary, enough = target.facts.vocabulary, config.enough
        self.panel = Panel(drafters, vocabulary, enough, self.cache, router, clock, fuser)
        self.scheduler = Scheduler(config, self._admit, self.encoder.ready, self.panel.ready)
        self._flights: dict[str, Flight] = {}
        self._farewells: list[Delta] = []

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._flights or self._farewells)

    def submit(self, request: Request) -> None:
        """Queue a request; its Deltas come from later steps.

        Raises:
            BadRequestError: not for this target, or id in flight. OverloadedError: queue full.
        """
        if self.scheduler.of(request.id):  # they would share a cache, and each other's news
            raise BadRequestError(f"a request {request.id!r} is in flight", "id")
        room = self.cache.slots - self.cache.scratch
        check_request(request, self.target.facts, self.panel.addresses, room)
        asked = request.sampling.seed
        seed = secrets.randbits(63) if asked is None else asked
        prefix = prefix_of(request.prompt, self.config.grid, request.tenant)
        choices = [Sequence(request, choice, seed, prefix) for choice in range(request.sampling.n)]
        panel, beside = self.panel, len(self._flights)
        route = panel.router.route(request, beside)
        flights = [
            Flight(
                sequence, self._books.tally(request, panel.addresses, route, beside),
                Prefill(self.target, sequence, partial(self.encoder.look, sequence)),
                self.target.facts,
            )
            for sequence in choices
        ]  # fmt: skip
        self.scheduler.add(choices)
        self._stats.send(route.name, len(choices))
        self._flights |= {flight.sequence.id: flight for flight in flights}

    def cancel(
        self, request_id: str, choice: int | None = None, reason: FinishReason = "cancelled"
    ) -> None:
        """End a request, or one choice of it, and free all it holds now; unknown ids are fine."""
        for sequence in self.scheduler.of(request_id):
            if choice is None or choice == sequence.choice:
                self._farewells.append(self._tell(sequence, reason))

    def step(self) -> list[Delta]:
        """Run one step for everybody who has something pending and all its pictures encoded."""
        began = time.perf_counter()
        told, self._farewells = self._farewells + self._collect(), []
        plan = self.scheduler.plan()
        if not (told or plan.chunks or plan.decoding) and self.encoder.wait(PATIENCE):
            told += self._collect()
            plan = self.scheduler.plan()
        told += [news for chunk in plan.chunks for news in self._prefill(*chunk)]
        read = time.perf_counter()
        going = [one for one in plan.decoding if self._flights[one.id].remaining > 0]
        told += [self._tell(one, "length") for one in plan.decoding if one not in going]
        if going:
            told += self._decode(going, timed=not plan.chunks)
        ended = time.perf_counter()
        self.scheduler.pace.spent(read - began, ended - read if going else 0.0)
        self._stats.step(ended - began)
        return told

    def close(self) -> None:
        """Cancel everything."""
        for id in [flight.sequence.request.id for flight in self._flights.values()]:
            self.cancel(id)

    @property
    def stats(self) -> EngineStats:
        """The running totals, with the gauges read now."""
        stats = self._stats
        stats.draft_seconds, stats.drafter_bytes = self.drafting.seconds, self.panel.held
        stats.see(self.scheduler, self.cache, self.encoder)
        return stats

    def reset(self) -> None:
        """Forget remembered prompts and pictures, count anew; nothing may be in flight."""
        self.cache.clear()
        self.panel.clear()
        self.encoder.reset()
        self._stats = EngineStats()
        self.drafting.reset()

    def _admit(self, sequence: Sequence) -> None:
        """Give a sequence its memory, and what the prefix cache knows of its prompt.

        A prompt that is to be scored is read whole: the cache has its keys, not its logits.
        """
        flight = self._flights[sequence.id]
        self.panel.admit(sequence, sequence.prompt_length + flight.limit, flight.tally)
        self.cache.open(sequence.id, sequence.prompt_length + flight.limit)
        known = sequence.prefix.keys if flight.scores is None else ()
        sequence.cached = sequence.reused = self.cache.match(sequence.id, known)
        self._stats.admit(sequence.prompt_length, sequence.reused)
        if sequence.pending > 1:
            self.encoder.order(sequence)

    def _collect(self) -> list[Delta]:
        """Take in encoded pictures; one that failed ends the sequences that wait for it."""
        return [
            self._tell(self._flights[id].sequence, "error", error=public(error))
            for id, error in self.encoder.collect().items()
        ]

    def _prefill(self, sequence: Sequence, stop: int) -> list[Delta]:
        """Cache one chunk of a prompt; a fault ends this sequence alone."""
        flight = self._flights[sequence.id]
        start, count = sequence.cached, stop - sequence.cached
        try:
            output = self._forward(flight.prefill.chunk(stop, self.cache))
            if flight.scores is not None and output.final is not None:
                told = score(self.target, sequence, stop, output.final, flight.scores)
                flight.scored.extend(told)
        except Exception as error:  # noqa: BLE001  # whatever it is, it ends one request
            _log.exception("prefill of %s failed", sequence.id)
            return [self._tell(sequence, "error", error=public(error))]
        self.cache.commit(sequence.id, np.arange(count))
        sequence.cached = stop
        if sequence.pending == 1:
            self.encoder.release(sequence.id)
        self.cache.remember(sequence.id, sequence.prefix.within(stop), sequence.prompt.shared > 0)
        seen = reading(sequence.tokens[start:stop], output.hidden)
        with self.drafting:
            self.panel.observe([sequence], seen, self._tallies())
        return flight.progress()

    def _decode(self, sequences: list[Sequence], *, timed: bool = False) -> list[Delta]:
        """Draft, verify and commit one tree a sequence; on a fault, find whose it is."""
        once = self._books.open([self._flights[one.id] for one in sequences], self.panel, timed)
        try:
            budgets = once.budgets(self._controller)
            with self.drafting:
                trees = self.panel.draft(sequences, budgets, self._tallies())
                trees, laws = self.panel.laws(sequences, trees, self._tallies())
            batch = pack_trees(
                sequences, trees, self.cache,
                reach=self._reach,
                grouped=self.target.numerics == "bitwise",
                axes=self.target.family.axes,
            )  # fmt: skip
            output = self._forward(batch)
            assert output.logits is not None
            verdict = judge(trees, output.logits, sequences, self.target.facts.stop_tokens, laws)
        except Exception as error:  # noqa: BLE001  # whatever it is, it ends one request
            if len(sequences) > 1:
                return [delta for one in sequences for delta in self._decode([one])]
            _log.exception("decoding %s failed", sequences[0].id)
            return [self._tell(sequences[0], "error", error=public(error))]
        told = self._commit(sequences, trees, output, verdict)
        self._stats.silence(once.close(trees))
        return told

    def _commit(
        self, sequences: list[Sequence], trees: list[TokenTree], output: Output, verdict: Verdict
    ) -> list[Delta]:
        """Keep what the target accepted, tell it, and show it to the drafters."""
        told: list[Delta] = []
        paths: list[np.ndarray] = []
        going: list[int] = []
        row = 0
        for index, (sequence, tree) in enumerate(zip(sequences, trees, strict=True)):
            kept = verdict.kept[index, : verdict.counts[index]].astype(np.int64)
            rows, row = row + kept, row + len(tree)
            paths.append(kept)
            if index in verdict.faults:
                told.append(self._tell(sequence, "error", error=verdict.faults[index]))
                continue
            decided = np.empty(len(kept), np.int64)
            decided[:-1], decided[-1] = tree.tokens[kept[1:]], verdict.next[index]
            self.cache.commit(sequence.id, kept)
            sequence.cached += len(kept)
            sequence.extend(decided)
            self.panel.learn(sequence, tree, kept)
            self._flights[sequence.id].tally.record(tree, kept, len(kept))
            self._stats.count(len(tree) - 1, len(kept) - 1)
            top = sequence.request.sampling.logprobs
            assert output.logits is not None
            likely = None if top is None else tuple(logprobs(output.logits[rows], decided, top))
            reason = self._flights[sequence.id].reason(int(decided[-1]))
            told.append(self._tell(sequence, reason, decided, likely))
            if reason is None and sequence.request.speculation.enabled:
                going.append(index)
        if going and self.panel.addresses:
            seen = observation(trees, paths, going, output, self.panel.needs, sequences)
            with self.drafting:
                self.panel.observe([sequences[index] for index in going], seen, self._tallies())
        return told

    def _tell(
        self,
        sequence: Sequence,
        reason: FinishReason | None,
        decided: np.ndarray | None = None,
        likely: tuple[TokenLogprob, ...] | None = None,
        error: str | None = None,
    ) -> Delta:
        """A Delta; with a reason, also the end of everything the sequence holds."""
        flight = self._flights[sequence.id]
        if reason is not None:
            self.scheduler.remove([sequence])
            self.cache.free(sequence.id)
            self.encoder.release(sequence.id)
            self.panel.end(sequence, reason, flight.tally)
            flight.tally.finish()
            del self._flights[sequence.id]
            self._stats.finished[reason] = self._stats.finished.get(reason, 0) + 1
        return flight.news(reason, decided, likely, error)

    def _forward(self, batch: Batch) -> Output:
        """One timed pass of the target."""
        began = time.perf_counter()
        output = self.target.forward(batch, self.cache, self.panel.needs)
        self._stats.model_seconds += time.perf_counter() - began
        return output

    def _tallies(self) -> dict[str, Tally]:
        return {id: flight.tally for id, flight in self._flights.items()}
