"""Long texts in passages: cut by tokens, found by a question, put together in their own order.

Sizes are counted in the target's tokens, because a drafter's context is; places are counted in
characters, because that is what a text is cut by. Cuts fall where the text itself pauses, as far
as there are pauses (after RAPID, Chen et al. 2025, which splits by a list of separators).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.core.ranker import Ranking

GAP = "\n\n"  # between passages that do not touch
# Pauses, the weakest first: a cut may fall anywhere in the whitespace after one, or at its end.
_PAUSES = (
    re.compile(r"\s+"),
    re.compile(r"(?<=[,;:\uff0c\uff1b\u3001\uff1a])\s*"),
    re.compile(
        r"""(?<=[.!?\u2026])["')\]\u201d\u2019\u00bb]*\s+"""
        r"""|(?<=[\u3002\uff01\uff1f])[\u201d\u2019\u300d\u300f]*\s*"""
    ),
    re.compile(r"\n\s*"),
    re.compile(r"\n[^\S\n]*\n\s*"),
)


@dataclass(frozen=True, slots=True)
class Passage:
    """Tokens ``[first, last)`` of a text, which are its characters ``[start, end)``."""

    first: int
    last: int
    start: int
    end: int

    def __len__(self) -> int:
        """Tokens."""
        return self.last - self.first


def cut(text: str, offsets: np.ndarray, size: int, overlap: int = 0) -> list[Passage]:
    """Cut a text into passages that hold every token of it, in order.

    A passage ends at the strongest pause in the second half of what it may hold, the last of those;
    only a text without any is cut within a word, and only one without whole characters within one.

    Args:
        text: the text.
        offsets: int64 [T, 2], where each token stands in it, ascending.
        size: most tokens of a passage.
        overlap: most tokens that a passage repeats of the one before; it begins at the strongest
            pause among them. Less than half of ``size``.

    Raises:
        ValueError: sizes that make no passages.
    """
    if size < 1 or not 0 <= 2 * overlap < size:
        raise ValueError(f"no passages of {size} tokens can overlap by {overlap}")
    count = len(offsets)
    pauses = strengths(text, offsets)
    found: list[Passage] = []
    first = 0
    while first < count:
        last = count
        if first + size < count:
            last = _strongest(pauses, first + size // 2 + 1, first + size, late=True)
        found.append(Passage(first, last, int(offsets[first, 0]), int(offsets[last - 1, 1])))
        if last == count:
            break
        first = _strongest(pauses, last - overlap, last - 1, late=False) if overlap else last
    return found


def strengths(text: str, offsets: np.ndarray) -> np.ndarray:
    """How good a cut before each token is: int8 [T], 0 within a word, -1 within a character."""
    starts = offsets[:, 0]
    found = np.zeros(len(offsets), np.int8)
    for strength, pause in enumerate(_PAUSES, 1):
        spans = np.array([match.span() for match in pause.finditer(text)], np.int64).reshape(-1, 2)
        if len(spans):
            nearest = np.searchsorted(spans[:, 0], starts, "right") - 1
            found[(nearest >= 0) & (starts <= spans[nearest, 1])] = strength
    found[1:][starts[1:] < offsets[:-1, 1]] = -1  # a character of several tokens
    return found


def choose(passages: Sequence[Passage], scores: np.ndarray, tokens: int) -> list[Passage]:
    """The passages nearest to a question, in the order of their document.

    Args:
        passages: of one text. scores: float [P], as a ranking has them.
        tokens: most that all of them may hold; what does not fit makes room for what is less near.
    """
    kept: list[int] = []
    left = tokens
    for index in np.argsort(-scores, kind="stable").tolist():
        if scores[index] <= 0:
            break
        if len(passages[index]) <= left:
            left -= len(passages[index])
            kept.append(index)
    return [passages[index] for index in sorted(kept)]


def find(
    text: str, passages: Sequence[Passage], ranking: Ranking, question: str, tokens: int
) -> str:
    """What a text says about a question, in up to ``tokens`` tokens; empty: nothing that is near.

    Args:
        text: the text. passages: of it, as ``cut``.
        ranking: of those passages.
    """
    return joined(text, choose(passages, ranking.scores(question), tokens))


def joined(text: str, passages: Sequence[Passage]) -> str:
    """Passages as one text: what two of them share is there once, what is left out is a gap."""
    spans: list[list[int]] = []
    for passage in passages:
        if spans and not text[spans[-1][1] : passage.start].strip():
            spans[-1][1] = max(spans[-1][1], passage.end)
        else:
            spans.append([passage.start, passage.end])
    return GAP.join(text[start:end].strip() for start, end in spans)


def _strongest(pauses: np.ndarray, low: int, high: int, *, late: bool) -> int:
    """The strongest cut before a token of ``[low, high]``; of equals the last, or the first."""
    window = pauses[low : high + 1]
    if late:
        return high - int(np.argmax(window[::-1]))
    return low + int(np.argmax(window))
