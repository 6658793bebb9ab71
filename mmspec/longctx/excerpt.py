"""What of a long prompt a small model should read to guess the answer: RAPID's drafter prompt.

The prompt's beginning, the passages of its middle that have most to do with its end, in the order
of the document, and its end (arXiv:2502.20330). All by the prompt's own ids: only the ranker reads
text, and nothing is spelt anew.

Axes: P tokens of a prompt, N passages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.ranker import Ranker

SHORTEST = 8  # tokens a question has at least; what follows the last line's end may be a template's


class Measures(NamedTuple):
    """How much is read, in tokens.

    Attributes:
        head, tail: of the prompt's beginning and end, which are always read.
        passage: most of one passage. question: most of what passages are ranked by.
        share: one of so many of the prompt goes into passages, within ``at_least`` and ``at_most``.
        follow: passages that go with a relevant one, as a story goes on behind its first words.
    """

    head: int
    tail: int
    passage: int
    question: int
    share: int
    at_least: int
    at_most: int
    follow: int = 0

    @property
    def most(self) -> int:
        """Tokens of the longest excerpt."""
        return self.head + self.at_most + self.tail


class Spelt:
    """What the ids of a tokenizer spell, and how much of a pause each ends with.

    Args:
        pieces: the bytes of every id.

    Attributes:
        pauses: int8 [V], 0 none, 1 a sentence, 2 a line, 3 a paragraph.
    """

    def __init__(self, pieces: ListOf[bytes]) -> None:
        self._pieces = pieces
        self.pauses = np.array([_pause(piece) for piece in pieces], np.int8)

    def text(self, ids: np.ndarray) -> str:
        """What some ids spell; half characters at its ends are marked, as unknown."""
        return b"".join([self._pieces[id] for id in ids.tolist()]).decode("utf-8", "replace")


def _pause(piece: bytes) -> int:
    bare = piece.rstrip(b" \t\r")
    lines = len(bare) - len(bare.rstrip(b"\n"))
    return min(lines, 2) + 1 if lines else int(bare.endswith((b".", b"!", b"?")))


def excerpt(ids: np.ndarray, spelt: Spelt, ranker: Ranker, measures: Measures) -> np.ndarray:
    """The excerpt of a prompt, int64, at most ``measures.most``; it ends as the prompt does.

    Where fewer than two passages have anything to do with the question, it is the document's
    beginning and its end, an eighth and the rest of what passages would take.

    Args:
        ids: int64 [P]; returned whole where head and tail are all of it.
        spelt: of the same ids.
        ranker: finds what has to do with the question.
    """
    head, tail = measures.head, len(ids) - measures.tail
    if tail <= head:
        return ids
    room = min(max(len(ids) // measures.share, measures.at_least), measures.at_most)
    levels = pause_levels(ids, spelt.pauses)
    spans = passages(levels[head:tail], measures.passage) + head
    question = spelt.text(ids[question_start(levels, measures) :])
    ranking = ranker.read([spelt.text(ids[start:stop]) for start, stop in spans])
    chosen = _best(ranking.scores(question), spans, room, measures.follow)
    if len(chosen) < 2:
        first = min(room // 8, tail - head)
        last = max(head + first, tail - (room - first))
        chosen = np.array([[head, head + first], [last, tail]])
    middle = [ids[start:stop] for start, stop in chosen]
    return np.concatenate([ids[:head], *middle, ids[tail:]])


def pause_levels(ids: np.ndarray, pauses: np.ndarray) -> np.ndarray:
    """How much of a pause follows each token of a prompt: int8 [P]; two line ends make three."""
    levels = pauses[ids]
    twice = (levels[1:] == 2) & (levels[:-1] >= 2)
    return np.concatenate([levels[:1], np.where(twice, np.int8(3), levels[1:])])


def passages(levels: np.ndarray, size: int) -> np.ndarray:
    """Where a text is cut, int64 [N, 2] starts and stops: at most ``size`` tokens each.

    A passage ends after the strongest pause of its second half, the last of equals.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    while start < len(levels):
        stop = start + size
        if stop < len(levels):
            half = levels[start + size // 2 : stop][::-1]
            stop -= int(np.argmax(half))
        spans.append((start, min(stop, len(levels))))
        start = stop
    return np.array(spans, np.int64).reshape(-1, 2)


def question_start(levels: np.ndarray, measures: Measures) -> int:
    """Where the question begins: after a line's end in the prompt's tail, if it is short enough."""
    count = len(levels)
    first = count - min(measures.tail, measures.question)
    ends = np.flatnonzero(levels[first : count - SHORTEST] >= 2)
    return first + int(ends[-1]) + 1 if len(ends) else first


def _best(relevance: np.ndarray, spans: np.ndarray, room: int, follow: int) -> np.ndarray:
    """The most relevant spans that fit into ``room`` tokens, in order; the earlier of equals.

    ``follow`` spans behind each come with it, before a less relevant one.
    """
    order = np.argsort(-relevance, kind="stable")
    kept: set[int] = set()
    for hit in order[relevance[order] > 0].tolist():
        for index in range(hit, min(hit + follow + 1, len(spans))):
            length = int(spans[index, 1] - spans[index, 0])
            if length <= room and index not in kept:
                kept.add(index)
                room -= length
    return spans[sorted(kept)]
