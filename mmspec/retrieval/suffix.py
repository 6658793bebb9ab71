"""The suffix drafter: what this request's own text said after the same words.

After SAM-Decoding (Hu et al. 2024) and SuffixDecoding (Oliaro et al. 2024), with trees instead of
chains and chances learned from the text itself. Free for text that repeats nothing: then the tree
is its root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmspec.core.drafter import Budget, Facts, Needs, Observation
from mmspec.core.stops import Stops
from mmspec.core.tree import TokenTree
from mmspec.retrieval.automaton import TOKEN_BYTES, Automaton
from mmspec.retrieval.quote import grow

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.sequence import Sequence


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of ``[drafters.retrieval.suffix]``."""

    floor: float = 0.02  # least chance of acceptance for which a guess gets a row


class Suffix:
    """Watches each sequence's text, prompt and output, in an automaton of its own."""

    needs = Needs()

    def __init__(self, config: Config, facts: Facts) -> None:
        self._floor = config.floor
        self._vocabulary = facts.vocabulary
        self._barriers = np.array(sorted(facts.media_tokens), np.int64)
        self._stops = Stops(facts.stop_tokens)
        self._read: dict[str, tuple[Sequence, Automaton]] = {}

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Read the tokens decided since last time; a prompt chunk by chunk, as it is cached."""
        for sequence in sequences:
            self._catch_up(sequence, sequence.cached + 1)

    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """One tree a sequence; the root alone where nothing repeats."""
        return [
            self._guess(sequence, budget)
            for sequence, budget in zip(sequences, budgets, strict=True)
        ]

    def forget(self, id: str) -> None:
        """Drop the automaton of the sequence ``id``."""
        self._read.pop(id, None)

    def room(self, tokens: int) -> int:
        """Bytes of a text's automaton, at most."""
        return TOKEN_BYTES * (tokens + 1)

    def _catch_up(self, sequence: Sequence, end: int) -> Automaton:
        reader, automaton = self._read.get(sequence.id, (None, None))
        if automaton is None or reader is not sequence:  # an id used again is another text
            automaton = Automaton(self._vocabulary, self._barriers, len(sequence) + 64)
            self._read[sequence.id] = sequence, automaton
        if automaton.size < min(end, len(sequence)):
            automaton.extend(sequence.tokens[automaton.size : end])
        return automaton

    def _guess(self, sequence: Sequence, budget: Budget) -> TokenTree:
        text = self._catch_up(sequence, len(sequence))
        tokens, parents, scores, source = grow(
            text.states, text.edges, (text.match, text.match_length), text.trust,
            self._stops.of(sequence),
            max(budget.nodes, 1), budget.depth, self._floor,
        )  # fmt: skip
        tokens[0] = sequence.last
        return TokenTree(tokens, parents, scores, source)


def build(config: Config, facts: Facts) -> Suffix:
    """A suffix drafter, its compiled parts ready, so that no request waits for the compiler."""
    drafter = Suffix(config, facts)
    warm = np.zeros(4, np.int64)
    warm.flags.writeable = False
    text = Automaton(facts.vocabulary, np.array(sorted(facts.media_tokens), np.int64))
    text.extend(warm)
    stops = np.array(sorted(facts.stop_tokens), np.int64)
    match = text.match, text.match_length
    grow(text.states, text.edges, match, text.trust, stops, 2, 1, config.floor)
    return drafter
