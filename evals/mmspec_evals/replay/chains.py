"""Chains quoted from a text's own past: the simplest drafters, which others are held to.

One occurrence of the text's end speaks, and what followed it is the guess:

- ``pld``: the first place where the last 3 tokens stand (else 2, else 1) with ten tokens left
  after it; ten tokens (prompt lookup decoding, Saxena 2023);
- ``earliest``: of the longest match the first place, as in SAM-Decoding (arXiv:2411.10666), whose
  automaton knows first ends; a shorter match where too little is left to quote;
- ``recent``: the same, its last place;
- ``vote``: at every token what most places of the longest match say, the latest when equal.

They make no claims: chances fall by a constant, so that deeper guesses go first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mmspec.core.drafter import Needs
from mmspec.core.tree import TokenTree

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Budget, Facts, Observation
    from mmspec.core.sequence import Sequence

Rule = Literal["pld", "earliest", "recent", "vote"]
GRAM, SHARE = 3, 10  # of prompt lookup: longest match that counts, and tokens of a guess
FALLS = np.float32(np.log(0.9))


class Text:
    """A text, and how far its end matches what ended at each earlier place.

    Attributes:
        tokens: int64 [n]. runs: int32 [n], at place j the tokens that end there as the text does.
    """

    def __init__(self, sequence: Sequence) -> None:
        self.sequence = sequence
        self.tokens, self.runs = np.zeros(0, np.int64), np.zeros(0, np.int32)

    def extend(self, tokens: np.ndarray, barriers: frozenset[int]) -> None:
        """Read on; nothing matches across ``barriers``, nor are they matched."""
        begin = len(self.tokens)
        self.tokens = np.concatenate([self.tokens, tokens])
        runs = np.zeros(len(self.tokens), np.int32)
        runs[:begin] = self.runs
        for place in range(max(begin, 1), len(self.tokens)):
            token = int(self.tokens[place])
            runs[1:place] = runs[: place - 1] + 1
            runs[0] = 1
            runs[:place] *= (self.tokens[:place] == token) & (token not in barriers)
        self.runs = runs


class Chain:
    """A drafter of one of the rules above, for every sequence by itself."""

    needs = Needs()

    def __init__(self, rule: Rule, facts: Facts) -> None:
        self._rule, self._barriers = rule, facts.media_tokens
        self._texts: dict[str, Text] = {}

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Nothing: all of a text is read when a guess is asked for."""

    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """One chain a sequence; the root alone where nothing repeats."""
        return [self._guess(one, budget) for one, budget in zip(sequences, budgets, strict=True)]

    def forget(self, id: str) -> None:
        """Drop the text of the sequence ``id``."""
        self._texts.pop(id, None)

    def _guess(self, sequence: Sequence, budget: Budget) -> TokenTree:
        text = self._texts.get(sequence.id)
        if text is None or text.sequence is not sequence:
            text = self._texts[sequence.id] = Text(sequence)
        text.extend(sequence.tokens[len(text.tokens) :], self._barriers)
        most = max(min(budget.nodes - 1, budget.depth), 0)
        said = quoted(text, self._rule, most)
        barred = np.flatnonzero(np.isin(said, list(self._barriers)))
        said = said[: barred[0]] if len(barred) else said
        path = np.concatenate([[sequence.last], said]).astype(np.int64)
        return TokenTree.chain(path, np.arange(len(path), dtype=np.float32) * FALLS)


def quoted(text: Text, rule: Rule, most: int) -> np.ndarray:
    """What is guessed to follow, int64 [at most ``most``]."""
    places = np.flatnonzero(text.runs)
    if not len(places) or not most:
        return text.tokens[:0]
    if rule == "pld":
        return _looked_up(text, places)[:most]
    full = places[len(text.tokens) - 1 - places >= most]
    places = full if len(full) else places
    longest = places[text.runs[places] == text.runs[places].max()]
    if rule == "vote":
        return _voted(text.tokens, longest, most)
    place = longest[0] if rule == "earliest" else longest[-1]
    return text.tokens[place + 1 : place + 1 + most]


def _looked_up(text: Text, places: np.ndarray) -> np.ndarray:
    full = places[places + 1 + SHARE <= len(text.tokens)]
    for size in range(GRAM, 0, -1):
        found = full[text.runs[full] >= size]
        if len(found):
            return text.tokens[found[0] + 1 : found[0] + 1 + SHARE]
    return text.tokens[:0]


def _voted(tokens: np.ndarray, places: np.ndarray, most: int) -> np.ndarray:
    said: list[int] = []
    for ahead in range(1, most + 1):
        places = places[places + ahead < len(tokens)]
        if not len(places):
            break
        after = tokens[places + ahead]
        counts = {int(token): int(np.sum(after == token)) for token in after}
        best = max(reversed(counts), key=counts.__getitem__)
        said.append(best)
        places = places[after == best]
    return np.array(said, np.int64)
