"""What a token is conditioned on besides logits: the decided tokens and one path below the root."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from mmspec.core.sequence import Sequence


class History:
    """The tokens before one node of a tree; it grows as a walk descends and never shrinks.

    Because each node's own path is its history, penalties and bans at a node are the ones plain
    decoding would apply there. Counts are made only when somebody asks for them.
    """

    def __init__(self, tokens: np.ndarray, prompt_length: int, vocabulary: int) -> None:
        """Start at the root.

        Args:
            tokens: int64 [L], everything decided, prompt first; its last token is the root.
            prompt_length: how many of them are the prompt.
            vocabulary: V, the width of a row of logits.
        """
        self._tokens = tokens
        self._prompt_length = prompt_length
        self._vocabulary = vocabulary
        self._path: list[int] = []

    @classmethod
    def of(cls, sequence: Sequence, vocabulary: int) -> History:
        """The history of the root of a sequence's next tree."""
        return cls(sequence.tokens, sequence.prompt_length, vocabulary)

    @property
    def position(self) -> int:
        """Absolute position (from 0) of the token about to be drawn."""
        return len(self._tokens) + len(self._path)

    @property
    def emitted(self) -> int:
        """Tokens after the prompt so far."""
        return self.position - self._prompt_length

    def push(self, token: int) -> None:
        """Descend to the child that carries ``token``."""
        self._path.append(token)
        if "counts" in self.__dict__:
            self.counts[token] += 1
        if "seen" in self.__dict__:
            self.seen[token] = True

    def ends_with(self, tokens: tuple[int, ...]) -> bool:
        """Whether the last tokens, prompt included, are these."""
        need = len(tokens)
        below = len(self._path)
        if need > self.position:
            return False
        if need <= below:
            return tuple(self._path[below - need :]) == tokens
        above = tuple(self._tokens[len(self._tokens) - (need - below) :].tolist())
        return above + tuple(self._path) == tokens

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each id was emitted after the prompt: int32 [V]."""
        counts = np.zeros(self._vocabulary, np.int32)
        _tally(self._tokens[self._prompt_length :], counts)
        _tally(np.array(self._path, np.int64), counts)
        return counts

    @cached_property
    def seen(self) -> np.ndarray:
        """Which ids stand in the prompt or were emitted: bool [V]."""
        seen = np.zeros(self._vocabulary, np.bool_)
        _mark(self._tokens, seen)
        _mark(np.array(self._path, np.int64), seen)
        return seen


@njit(cache=True, nogil=True)
def _tally(tokens: np.ndarray, counts: np.ndarray) -> None:
    for token in tokens:
        if 0 <= token < len(counts):
            counts[token] += 1


@njit(cache=True, nogil=True)
def _mark(tokens: np.ndarray, seen: np.ndarray) -> None:
    for token in tokens:
        if 0 <= token < len(seen):
            seen[token] = True
