"""The STAND drafter: what the target thought, on the average, after the same few tokens.

STAND (arXiv:2506.04708): n-gram rows of the target's chances, and guesses drawn out of them with
the request's own noise. The choices of one request learn together, for the same problem is solved
in much the same words; the requests of one tenant do so where that is asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmspec.core.drafter import Budget, Facts, Needs, Observation
from mmspec.core.noise import key
from mmspec.core.stops import Stops
from mmspec.core.tree import TokenTree
from mmspec.retrieval.gram_tree import grow, new_trust, reached, score
from mmspec.retrieval.grams import MOST, WAYS, WIDTH, Grams, learn, new_grams

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.request import Request
    from mmspec.core.sequence import Sequence


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of ``[drafters.retrieval.stand]``."""

    rows: int = 65_536  # of one table; 100 bytes each when used
    floor: float = 0.02  # least chance of acceptance for which a guess gets a row of the verify
    # Whose requests share a table: everybody's, or these tenants', each its own. A server calls a
    # tenant by the SHA-256 of its API key, in hexadecimal, and "" where it asks for no key.
    remember: bool | tuple[str, ...] = False
    tenants: int = 64  # tables of tenants kept; the one asked for last stays longest

    def __post_init__(self) -> None:
        for name, most in {"rows": 1 << 26, "tenants": 1 << 20}.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be between 1 and {most}")


@dataclass(slots=True)
class _Lore:
    """What was learned together.

    Attributes:
        request: whose choices share it; None: its tenant's requests do.
        ended: sequence ids of choices that are forgotten.
    """

    grams: Grams
    trust: np.ndarray
    request: Request | None
    ended: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Reader:
    """One text being written, and how much of it was compared with what its rows claimed."""

    sequence: Sequence
    lore: _Lore
    size: int


class Stand:
    """Watches what the target thinks at every verified node."""

    needs = Needs(top=WIDTH, chances=True, context=MOST)

    def __init__(self, config: Config, facts: Facts) -> None:
        self._config = config
        self._slots = max(1 << (config.rows - 1).bit_length(), WAYS)
        one = new_grams(WAYS)
        row = sum(array.nbytes for array in one[:-1]) // WAYS
        self._bytes = self._slots * row + one.clock.nbytes + new_trust().nbytes
        self._barriers = np.array([facts.vocabulary, *sorted(facts.media_tokens)], np.int64)
        self._stops = Stops(facts.stop_tokens)
        self._readers: dict[str, _Reader] = {}
        self._requests: dict[str, _Lore] = {}
        self._tenants: OrderedDict[str, _Lore] = OrderedDict()

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Score the rows on what was decided, then teach them what the target thought."""
        for index, sequence in enumerate(sequences):
            reader = self._reader(sequence)
            self._score(reader, min(sequence.cached + 1, len(sequence)))
            if len(seen.chances):
                part = slice(seen.node_offsets[index], seen.node_offsets[index + 1])
                told = seen.contexts[part, -MOST:], seen.top[part], seen.chances[part]
                learn(reader.lore.grams, self._barriers, *told)

    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """One tree a sequence; the root alone where the target never stood so."""
        return [
            self._guess(sequence, budget)
            for sequence, budget in zip(sequences, budgets, strict=True)
        ]

    def forget(self, id: str) -> None:
        """Drop the sequence ``id``; what its request taught goes with the last of its choices."""
        self._readers.pop(id, None)
        name = id.rpartition("/")[0]
        lore = self._requests.get(name)
        if lore is not None and lore.request is not None:
            lore.ended.add(id)
            if len(lore.ended) >= lore.request.sampling.n:
                del self._requests[name]

    def clear(self) -> None:
        """Forget what tenants taught."""
        self._tenants.clear()

    def room(self, tokens: int) -> int:
        """Bytes of a table with every row in use, and of its trust."""
        return self._bytes

    def _reader(self, sequence: Sequence) -> _Reader:
        reader = self._readers.get(sequence.id)
        if reader is None or reader.sequence is not sequence:  # an id used again is another text
            lore = self._lore(sequence.request)
            lore.ended.discard(sequence.id)
            size = max(sequence.prompt_length, min(sequence.cached + 1, len(sequence)))
            reader = self._readers[sequence.id] = _Reader(sequence, lore, size)
        return reader

    def _lore(self, request: Request) -> _Lore:
        whose, tenant = self._config.remember, request.tenant
        if whose if isinstance(whose, bool) else tenant in whose:
            if tenant not in self._tenants:
                self._tenants[tenant] = _Lore(new_grams(self._slots), new_trust(), None)
            self._tenants.move_to_end(tenant)
            while len(self._tenants) > self._config.tenants:
                self._tenants.popitem(last=False)
            return self._tenants[tenant]
        lore = self._requests.get(request.id)
        if lore is None or lore.request is not request:
            lore = _Lore(new_grams(self._slots), new_trust(), request)
            self._requests[request.id] = lore
        return lore

    def _score(self, reader: _Reader, end: int) -> None:
        sequence, first = reader.sequence, reader.size
        if end <= first:
            return
        start = max(first - MOST, 0)
        heat, states = _noise(sequence, first, end - first)
        score(
            reader.lore.grams, self._barriers, reader.lore.trust, sequence.tokens[start:end],
            first - start, heat, states,
        )  # fmt: skip
        reader.size = end

    def _guess(self, sequence: Sequence, budget: Budget) -> TokenTree:
        lore = self._reader(sequence).lore
        heat, states = _noise(sequence, len(sequence), budget.depth)
        grown = grow(
            lore.grams, self._barriers, lore.trust, self._stops.of(sequence),
            reached(sequence.tokens), heat, states, (max(budget.nodes, 1), self._config.floor),
        )  # fmt: skip
        return TokenTree(*grown)


def _noise(sequence: Sequence, first: int, count: int) -> tuple[np.float32, np.ndarray]:
    """A text's temperature, and noise keys of ``count`` positions, uint64; 0 where it is greedy."""
    heat = np.float32(sequence.request.sampling.temperature)
    states = np.zeros(count, np.uint64)
    if heat > 0:
        for place in range(count):
            states[place] = key(sequence.seed, sequence.choice, first + place)
    return heat, states


def build(config: Config, facts: Facts) -> Stand:
    """A STAND drafter, its compiled parts ready, so that no request waits for the compiler."""
    drafter = Stand(config, facts)
    grams, trust, heat = new_grams(WAYS), new_trust(), np.float32(1.0)
    barriers = np.array([facts.vocabulary, *sorted(facts.media_tokens)], np.int64)
    stops = np.array(sorted(facts.stop_tokens), np.int64)
    rows = np.zeros((1, WIDTH), np.int64)
    learn(grams, barriers, np.zeros((1, MOST), np.int64), rows, rows.astype(np.float32))
    text = np.zeros(MOST + 1, np.int64)
    text.flags.writeable = False
    states = np.zeros(1, np.uint64)
    score(grams, barriers, trust, text, MOST, heat, states)
    grow(grams, barriers, trust, stops, reached(text), heat, states, (2, config.floor))
    return drafter
