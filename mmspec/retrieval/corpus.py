"""The corpus drafter: what other texts said after the same words.

REST (He et al. 2024) with a vote tree over the longest match and shorter ones, in corpora that were
indexed before (``mmspec index build``) and, for tenants who are remembered, in their own finished
texts. A tenant's texts are quoted to that tenant alone.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmspec.core.drafter import Budget, Facts, Needs, Observation
from mmspec.core.errors import CorpusError
from mmspec.core.stops import Stops
from mmspec.core.tree import TokenTree
from mmspec.retrieval.ingest import Ingest, Memories
from mmspec.retrieval.library import Public
from mmspec.retrieval.memory import Limits
from mmspec.retrieval.quotes import Quotes, warm
from mmspec.retrieval.segment import identity_of
from mmspec.retrieval.stack import LEVELS, Stack
from mmspec.retrieval.votes import PRIOR, grow, learn

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.request import FinishReason, Request
    from mmspec.core.sequence import Sequence

REACH = 24  # tokens of a continuation
WELL = ("stop", "length")  # a text that ended otherwise is not remembered


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of ``[drafters.retrieval.corpus]``."""

    paths: tuple[str, ...] = ()  # indexes that everybody may be quoted from: folders or files
    # Whose outputs are kept: everybody's, or these tenants'. A server calls a tenant by the SHA-256
    # of its API key, in hexadecimal, and "" where it asks for no key.
    remember: bool | tuple[str, ...] = False
    documents: bool = False  # whether what their prompts share (a document) is kept as well
    prompts: bool = False  # whether their whole prompts are
    store: str | None = None  # folder for what is remembered; None: memory alone
    quota_bytes: int = 64 << 20  # of what is remembered of one tenant
    seal_tokens: int = 1 << 16  # tokens in memory from which they go to the store
    tenants: int = 64  # memories open at a time
    max_match: int = 32  # tokens of context that are looked for
    min_match: int = 1  # shortest match that is quoted
    samples: int = 64  # occurrences that vote
    floor: float = 0.02  # least chance of acceptance for which a guess gets a row

    def __post_init__(self) -> None:
        ranges = {
            "quota_bytes": (1 << 16, 1 << 50), "seal_tokens": (1 << 10, 1 << 26),
            "tenants": (1, 1 << 20), "max_match": (1, 256), "min_match": (1, self.max_match),
            "samples": (1, 1024), "floor": (0.0, 1.0),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be between {low} and {high}")


@dataclass(slots=True)
class _Tenant:
    """What is known of one tenant's texts, by its requests alone.

    Attributes:
        trust: float64 [T, 10], how far they go on as others did, see ``votes``.
        stack: what it was quoted from last.
    """

    trust: np.ndarray = field(default_factory=PRIOR.copy)
    stack: Stack = field(default_factory=lambda: Stack(()))


@dataclass(slots=True)
class _Reader:
    """One text being written.

    Attributes:
        trust: float64 [T, 10], its tenant's.
        said: what was found at the place ``at``, until what came there is known.
    """

    sequence: Sequence
    trust: np.ndarray
    said: Quotes | None = None
    at: int = 0


class Corpus:
    """Watches where each text agrees with others; remembers it for its tenant if it may."""

    needs = Needs()

    def __init__(self, config: Config, facts: Facts) -> None:
        self.identity = identity = identity_of(facts)
        media = sorted(facts.media_tokens)
        self._config = config
        self._bars = np.array([min(facts.vocabulary, identity.size), *media], np.int64)
        self._stops = Stops(facts.stop_tokens)
        self._public = Public(config.paths, identity)
        limits = Limits(quota=config.quota_bytes, seal=config.seal_tokens, depth=config.max_match)
        store = None if config.store is None else Path(config.store)
        self._memories = Memories(identity, self._bars, limits, store, config.tenants)
        self.ingest = Ingest(self._memories)
        self._readers: dict[str, _Reader] = {}
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()

    def declines(self, request: Request) -> str | None:
        """There may be nothing to quote for a tenant."""
        self._public.refresh()
        if self._remembers(request.tenant):
            try:
                self._memories.open(request.tenant).refresh()
            except CorpusError as error:
                return None if self._public.segments else str(error)
            return None
        return None if self._public.segments else "no corpus is mounted"

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Compare what was decided with what others said there."""
        for sequence in sequences:
            reader = self._reader(sequence)
            if reader.said is not None and reader.at < len(sequence):
                learn(*reader.said, reader.trust, sequence.tokens[reader.at :])
                reader.said = None

    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """One tree a sequence; the root alone where nobody said the like."""
        told: list[TokenTree] = []
        stacks: dict[str, Stack] = {}
        for sequence, budget in zip(sequences, budgets, strict=True):
            tenant = sequence.request.tenant
            if tenant not in stacks:
                stacks[tenant] = self._stack(tenant)
            told.append(self._guess(sequence, budget, stacks[tenant]))
        return told

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """Remember a text that ended well, if its tenant's are."""
        tenant, prompt = sequence.request.tenant, sequence.prompt
        if reason not in WELL or not self._remembers(tenant):
            return
        kept = len(prompt.ids) if self._config.prompts else prompt.shared
        if kept and (self._config.documents or self._config.prompts):
            self.ingest.put(tenant, prompt.ids[:kept])
        self.ingest.put(tenant, sequence.output)

    def forget(self, id: str) -> None:
        """Drop what is known of the sequence ``id``."""
        self._readers.pop(id, None)

    def room(self, tokens: int) -> int:
        """Bytes of what was found at one place, and of what it is trusted."""
        return LEVELS * self._config.samples * (4 * REACH + 4 + 8) + PRIOR.nbytes

    def clear(self) -> None:
        """Forget all texts that are not on the disk, and what was learned from them."""
        self.ingest.settle()
        self._memories.clear()
        self._tenants.clear()

    def _remembers(self, tenant: str) -> bool:
        whose = self._config.remember
        return whose if isinstance(whose, bool) else tenant in whose

    def _stack(self, tenant: str) -> Stack:
        memory = self._memories.get(tenant) if self._remembers(tenant) else None
        own = memory.segments if memory else ()
        segments = [one for one in (*own, *self._public.segments) if one.fault() is None]
        held = self._tenant(tenant)
        if not held.stack.holds(segments):
            held.stack = Stack(segments)
        return held.stack

    def _reader(self, sequence: Sequence) -> _Reader:
        reader = self._readers.get(sequence.id)
        if reader is None or reader.sequence is not sequence:  # an id used again is another text
            trust = self._tenant(sequence.request.tenant).trust
            reader = self._readers[sequence.id] = _Reader(sequence, trust)
        return reader

    def _tenant(self, tenant: str) -> _Tenant:
        held = self._tenants.get(tenant)
        if held is None:
            held = self._tenants[tenant] = _Tenant()
        self._tenants.move_to_end(tenant)
        if len(self._tenants) > self._config.tenants:
            self._tenants.popitem(last=False)
        return held

    def _guess(self, sequence: Sequence, budget: Budget, stack: Stack) -> TokenTree:
        reader, config = self._reader(sequence), self._config
        root = sequence.last
        limits = config.max_match, config.min_match, config.samples, REACH
        said = Quotes.find(stack, sequence.tokens, self._bars, limits)
        reader.said, reader.at = said, len(sequence)
        if said is None or budget.nodes < 2:
            return TokenTree.root(root)
        shape = (root, budget.nodes, budget.depth, config.floor)
        stops = self._stops.of(sequence)
        return TokenTree(*grow(*said, reader.trust, stops, shape))


def build(config: Config, facts: Facts) -> Corpus:
    """A corpus drafter, its compiled parts ready, so that no request waits for the compiler.

    Raises:
        ConfigError: an index cannot be read, or was built for another tokenizer.
    """
    drafter = Corpus(config, facts)
    warm(drafter.identity, np.array(sorted(facts.stop_tokens), np.int64))
    return drafter
