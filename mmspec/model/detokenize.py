"""Token ids to text while they arrive: whole characters only, and never a piece of a stop string.

Every step of the stream is taken token by token, so text, stop and count do not depend on how
many tokens a step of the engine happened to decide.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Pieces(Protocol):
    """What a tokenizer must tell to be read backwards."""

    @property
    def special_tokens(self) -> frozenset[int]:
        """Ids that stand for no text (end of sequence, roles, pictures)."""
        ...

    def token_bytes(self, id: int, /) -> bytes:
        """The bytes one token stands for; they need not be whole characters."""
        ...


class StopMatcher:
    """Knuth-Morris-Pratt over characters: how much of one stop string the text ends with.

    Attributes:
        matched: characters of ``pattern`` that are a suffix of the text so far.
    """

    __slots__ = ("_failure", "matched", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.matched = 0
        self._failure = [0] * len(pattern)
        length = 0
        for index in range(1, len(pattern)):
            while length and pattern[index] != pattern[length]:
                length = self._failure[length - 1]
            length += pattern[index] == pattern[length]
            self._failure[index] = length

    def push(self, character: str) -> bool:
        """Read one character; true when it completes the pattern."""
        while self.matched and self.pattern[self.matched] != character:
            self.matched = self._failure[self.matched - 1]
        self.matched += self.pattern[self.matched] == character
        return self.matched == len(self.pattern)


class TextStream:
    """The text of one choice, growing.

    Of several stop strings the one whose last character comes first wins, and of those that end
    together the longest. Bytes that are not UTF-8 become U+FFFD once it is certain that they
    never will be.

    Attributes:
        stopped: the stop string that completed, or None.
        count: tokens read, up to and including the one that completed a stop string. Tokens
            after it do not count: the client never sees them.
    """

    __slots__ = (
        "_decoder", "_held", "_include_stop", "_matchers", "_pieces", "_skip", "count", "stopped",
    )  # fmt: skip

    def __init__(
        self,
        pieces: Pieces,
        stop: Sequence[str] = (),
        include_stop: bool = False,
        skip_special: bool = True,
    ) -> None:
        self._pieces = pieces
        self._matchers = [StopMatcher(text) for text in stop]
        self._include_stop = include_stop
        self._skip = pieces.special_tokens if skip_special else frozenset()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # text that may yet turn out to begin a stop string
        self.stopped: str | None = None
        self.count = 0

    def push(self, tokens: Iterable[int]) -> str:
        """Read decided tokens and return the text that is now certain, possibly empty."""
        parts: list[str] = []
        for token in tokens:
            if self.stopped is not None:
                break
            self.count += 1
            if token not in self._skip:
                parts.append(self._read(self._decoder.decode(self._pieces.token_bytes(token))))
        return "".join(parts)

    def finish(self) -> str:
        """No more tokens will come: return whatever was held back."""
        if self.stopped is not None:
            return ""
        # What the decoder still owes may itself complete a stop string (one with U+FFFD in it).
        text = self._read(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return text + held

    def _read(self, text: str) -> str:
        """Search new text for stop strings; return what of held and new text is certain."""
        if not self._matchers or not text:
            return text
        known = self._held + text
        for end, character in enumerate(text, start=len(self._held) + 1):
            # Every matcher must read the character, so no short-circuit here.
            done = [matcher for matcher in self._matchers if matcher.push(character)]
            if done:
                self.stopped = max((matcher.pattern for matcher in done), key=len)
                self._held = ""
                return known[: end if self._include_stop else end - len(self.stopped)]
        keep = max(matcher.matched for matcher in self._matchers)
        self._held = known[len(known) - keep :]
        return known[: len(known) - keep]
