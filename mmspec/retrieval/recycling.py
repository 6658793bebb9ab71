"""The recycling drafter: what the target ranked after this token, last time, wrong guesses too.

Token Recycling (Luo et al. 2024). A verify step ranks successors for every node, accepted or not;
they are paid for, so they are kept. Where the prompt has not been verified, its own bigrams stand
in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmspec.core.drafter import Budget, Facts, Needs, Observation
from mmspec.core.stops import Stops
from mmspec.core.tree import TokenTree
from mmspec.retrieval.successors import RANKS, grow, learn, new_rates, new_rows, score, seed

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.sequence import Sequence


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of ``[drafters.retrieval.recycling]``."""

    rows: int = 16_384  # most tokens a sequence remembers successors of; 40 bytes each when used
    floor: float = 0.02  # least chance of acceptance for which a guess gets a row of the verify


@dataclass(slots=True)
class _Memory:
    """What one sequence taught: its table, its rates, and how much of it was read."""

    sequence: Sequence
    rows: np.ndarray
    rates: np.ndarray
    size: int = 0


class Recycling:
    """Watches what the target ranked at every verified node, one table a sequence."""

    needs = Needs(top=RANKS)

    def __init__(self, config: Config, facts: Facts) -> None:
        self._floor = config.floor
        self._slots = 1 << (max(min(config.rows, facts.vocabulary), 1) - 1).bit_length()
        self._bytes = self._slots * new_rows(1).nbytes + new_rates().nbytes
        self._barriers = np.array([facts.vocabulary, *sorted(facts.media_tokens)], np.int64)
        self._stops = Stops(facts.stop_tokens)
        self._memories: dict[str, _Memory] = {}

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Score the rows on what was decided, then replace those of the verified nodes."""
        for index, sequence in enumerate(sequences):
            memory = self._catch_up(sequence, sequence.cached + 1)
            if len(seen.top):
                part = slice(seen.node_offsets[index], seen.node_offsets[index + 1])
                learn(memory.rows, self._barriers, seen.node_tokens[part], seen.top[part])

    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """One tree a sequence; the root alone where nothing was seen after its last token."""
        return [
            self._guess(sequence, budget)
            for sequence, budget in zip(sequences, budgets, strict=True)
        ]

    def forget(self, id: str) -> None:
        """Drop the table of the sequence ``id``."""
        self._memories.pop(id, None)

    def room(self, tokens: int) -> int:
        """Bytes of a table with every row in use, and of its rates."""
        return self._bytes

    def _catch_up(self, sequence: Sequence, end: int) -> _Memory:
        memory = self._memories.get(sequence.id)
        if memory is None or memory.sequence is not sequence:  # an id used again is another text
            memory = _Memory(sequence, new_rows(self._slots), new_rates())
            self._memories[sequence.id] = memory
        end, start, prompt = min(end, len(sequence)), memory.size, sequence.prompt_length
        if start < prompt:
            seed(memory.rows, self._barriers, sequence.tokens[max(start - 1, 0) : min(end, prompt)])
        if end > max(start, prompt):
            score(memory.rows, memory.rates, sequence.tokens[max(start, prompt) - 1 : end])
        memory.size = max(start, end)
        return memory

    def _guess(self, sequence: Sequence, budget: Budget) -> TokenTree:
        memory = self._catch_up(sequence, len(sequence))
        grown = grow(
            memory.rows, memory.rates, self._stops.of(sequence), sequence.last,
            max(budget.nodes, 1), budget.depth, self._floor,
        )  # fmt: skip
        return TokenTree(*grown)


def build(config: Config, facts: Facts) -> Recycling:
    """A recycling drafter, its compiled parts ready, so that no request waits for the compiler."""
    drafter = Recycling(config, facts)
    rows, rates = new_rows(4), new_rates()
    barriers = np.array([facts.vocabulary, *sorted(facts.media_tokens)], np.int64)
    tokens = np.zeros(2, np.int64)
    learn(rows, barriers, tokens, np.zeros((2, RANKS), np.int64))
    tokens.flags.writeable = False
    seed(rows, barriers, tokens)
    score(rows, rates, tokens)
    grow(rows, rates, np.array(sorted(facts.stop_tokens), np.int64), 0, 2, 1, config.floor)
    return drafter
