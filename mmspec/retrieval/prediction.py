"""The prediction drafter: what the caller says the answer will mostly be.

For edits of a text: the caller sends the text as a prediction (OpenAI's Predicted Outputs), and it
is quoted from where the answer stands in it. Nothing is done for requests without one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmspec.core.drafter import Budget, Facts, Needs, Observation
from mmspec.core.request import Prompt, Request
from mmspec.core.sequence import Sequence
from mmspec.core.stops import Stops
from mmspec.core.tree import TokenTree
from mmspec.retrieval.automaton import LAST, TOKEN_BYTES, Automaton
from mmspec.retrieval.follow import RESUME, TRUST, follow, guess, new_stand

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of ``[drafters.retrieval.prediction]``."""

    floor: float = 0.02  # least chance of acceptance for which a guess gets a row


@dataclass(slots=True)
class _Reader:
    """One answer being written, beside what it was predicted to be.

    Attributes:
        other: int64 [L], the prediction, with a sign before it.
        read: tokens of the answer that were followed.
    """

    sequence: Sequence
    other: np.ndarray
    text: Automaton
    stand: np.ndarray
    read: int = 0
    trust: np.ndarray = field(default_factory=TRUST.copy)
    resume: np.ndarray = field(default_factory=RESUME.copy)

    def follow(self, end: int) -> None:
        """Go on to the answer's token ``end``."""
        sequence, text = self.sequence, self.text
        if self.read < min(end, len(sequence) - sequence.prompt_length):
            fresh = sequence.output[self.read : end]
            follow(text.states, text.edges, self.other, self.trust, self.resume, self.stand, fresh)
            self.read += len(fresh)

    def guess(self, budget: Budget, stops: np.ndarray, floor: float) -> TokenTree:
        """What comes next."""
        text, shape = self.text, (self.sequence.last, max(budget.nodes, 1), budget.depth, floor)
        tree = guess(
            text.states, text.edges, self.other, self.trust, self.resume, self.stand, stops, shape
        )
        return TokenTree(*tree)


class Prediction:
    """Follows each answer through its prediction."""

    needs = Needs()

    def __init__(self, config: Config, facts: Facts) -> None:
        self._floor = config.floor
        self._context, self._vocabulary = facts.context, facts.vocabulary
        self._media = np.array(sorted(facts.media_tokens), np.int64)
        self._stops = Stops(facts.stop_tokens)
        self._readers: dict[str, _Reader] = {}

    def declines(self, request: Request) -> str | None:
        """Most requests predict nothing."""
        count = len(request.prediction)
        if not count:
            return "no prediction"
        if count > self._context:
            return f"the prediction has {count} tokens, the context {self._context}"
        return None

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Follow what was decided since last time."""
        for sequence in sequences:
            self._reader(sequence).follow(max(sequence.cached + 1 - sequence.prompt_length, 0))

    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """One tree a sequence; the root alone where the answer is none that was predicted."""
        trees = []
        for sequence, budget in zip(sequences, budgets, strict=True):
            reader = self._reader(sequence)
            reader.follow(len(sequence) - sequence.prompt_length)
            trees.append(reader.guess(budget, self._stops.of(sequence), self._floor))
        return trees

    def forget(self, id: str) -> None:
        """Drop the prediction of the sequence ``id``."""
        self._readers.pop(id, None)

    def room(self, tokens: int) -> int:
        """Bytes of the longest prediction and its automaton: the answer itself is not held."""
        return (TOKEN_BYTES + 8) * (self._context + 2)

    def _reader(self, sequence: Sequence) -> _Reader:
        reader = self._readers.get(sequence.id)
        if reader is None or reader.sequence is not sequence:  # an id used again is another text
            reader = self._readers[sequence.id] = self._open(sequence)
        return reader

    def _open(self, sequence: Sequence) -> _Reader:
        ids = sequence.request.prediction
        known = (ids >= 0) & (ids < self._vocabulary) & ~np.isin(ids, self._media)
        # The first id that is none marks the beginning; no match enters it, so nobody guesses it.
        other = np.append(self._vocabulary, ids[known]).astype(np.int64)
        text = Automaton(self._vocabulary + 1, self._media[:0], len(other))
        text.extend(other[:1])
        stand = new_stand(int(text.header[LAST]))
        text.extend(other[1:])
        return _Reader(sequence, other, text, stand)


def build(config: Config, facts: Facts) -> Prediction:
    """A prediction drafter, its compiled parts ready, so that no request waits for the compiler."""
    drafter = Prediction(config, facts)
    request = Request("", Prompt(np.zeros(1, np.int64)), prediction=np.zeros(3, np.int64))
    sequence = Sequence(request, 0, 0)
    sequence.extend(np.array([0, 1], np.int64))
    drafter.draft([sequence], [Budget(3, 2)])
    drafter.forget(sequence.id)
    return drafter
