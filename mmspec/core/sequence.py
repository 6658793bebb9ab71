"""One choice of one request in flight: the only mutable value of the three."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from mmspec.core.request import Prompt, Request


class Prefix(NamedTuple):
    """What of a prompt other prompts may share: its whole prefill chunks.

    Attributes:
        chunk: tokens of one.
        keys: identity of each, together with everything before it; none where nothing is shared.
    """

    chunk: int = 1
    keys: tuple[bytes, ...] = ()

    def within(self, tokens: int) -> tuple[bytes, ...]:
        """Identities of the whole chunks in the prompt's first ``tokens``."""
        return self.keys[: tokens // self.chunk]

    def upto(self, tokens: int) -> tuple[bytes, ...]:
        """Identities of the chunks in the prompt's first ``tokens``; none if those cut a chunk."""
        whole, rest = divmod(tokens, self.chunk)
        return () if rest or whole > len(self.keys) else self.keys[:whole]


UNSHARED = Prefix()


class Sequence:
    """Tokens known and how many of them the target has cached.

    There are no phases: ``pending`` tokens wait for the target. More than one is prefill, one is
    decoding (the last decided token, root of the next tree).

    Attributes:
        id: unique among sequences in flight; ``request.id/choice``.
        prefix: what of its prompt may be shared.
        seed: the 64-bit key of this request's noise.
        cached: leading tokens whose keys and values the cache holds.
        reused: prompt tokens found in the prefix cache.
        position_shift: rope position minus index for tokens after the prompt (M-RoPE delta).
    """

    __slots__ = (
        "_length", "_tokens", "_view", "cached", "choice", "id", "position_shift", "prefix",
        "prompt_length", "request", "reused", "seed",
    )  # fmt: skip

    def __init__(self, request: Request, choice: int, seed: int, prefix: Prefix = UNSHARED) -> None:
        ids = request.prompt.ids
        self.id = f"{request.id}/{choice}"
        self.request = request
        self.choice = choice
        self.prefix = prefix
        self.seed = seed
        self.prompt_length = len(ids)
        self.cached = 0
        self.reused = 0
        self.position_shift = 0
        self._tokens = np.empty(max(64, 2 * len(ids)), np.int64)
        self._tokens[: len(ids)] = ids
        self._length = len(ids)
        self._view = ids[:0]

    def __len__(self) -> int:
        return self._length

    @property
    def tokens(self) -> np.ndarray:
        """All decided tokens, int64 [len]: a read-only view, prompt first."""
        if len(self._view) != self._length:  # a round asks a dozen times, so one view is kept
            self._view = self._tokens[: self._length]
            self._view.flags.writeable = False
        return self._view

    @property
    def last(self) -> int:
        """The last decided token."""
        return self._tokens.item(self._length - 1)

    @property
    def output(self) -> np.ndarray:
        """Decided tokens after the prompt, int64 [len - prompt_length]: a read-only view."""
        return self.tokens[self.prompt_length :]

    @property
    def prompt(self) -> Prompt:
        """The prompt this sequence started from."""
        return self.request.prompt

    @property
    def pending(self) -> int:
        """Decided tokens that are not cached yet."""
        return self._length - self.cached

    def extend(self, tokens: np.ndarray) -> None:
        """Append decided tokens, int64 [K]."""
        end = self._length + len(tokens)
        if end > len(self._tokens):
            grown = np.empty(2 * end, np.int64)
            grown[: self._length] = self._tokens[: self._length]
            self._tokens = grown
        self._tokens[self._length : end] = tokens
        self._length = end
