"""Where an answer's words stand in the document it is about.

Two things count: what the answer puts between quotation marks, and runs of words it repeats without
saying so. Both must stand in the document word by word; only the amount of whitespace may differ.
What does not stand there is no evidence, however close it is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = 6  # words that an answer must repeat for it to be no accident
_WORD = re.compile(r"\S+")
_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|「([^」]+)」')
_MOST = 64  # quotations of one answer that are looked up
_TRIES = 64  # places at which one is looked at


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Words of an answer that stand in the document.

    ``start`` and ``end`` count characters of the document's text, ``answer_start`` and
    ``answer_end`` those of the answer; whitespace aside, both name the same characters. Where the
    words stand several times, it is the first.
    """

    text: str  # as the document has them
    start: int
    end: int
    answer_start: int
    answer_end: int


class Witness:
    """One document, made ready to be asked; that takes time, asking then takes little.

    Args:
        document: its text.
    """

    def __init__(self, document: str) -> None:
        self._document = document
        found = list(_WORD.finditer(document))
        self._words = [match.group() for match in found]
        self._starts = [match.start() for match in found]
        # The text with one space for any whitespace, and where each word of it begins.
        self._plain = " ".join(self._words)
        self._places = [0, *accumulate(len(word) + 1 for word in self._words)]
        self._runs: dict[int, int] = {}  # hash of RUN words -> index of the first of them
        for index in range(len(self._words) - RUN + 1):
            self._runs.setdefault(hash(tuple(self._words[index : index + RUN])), index)

    def evidence(self, answer: str) -> list[Evidence]:
        """All evidence of an answer, in the answer's order; of what overlaps, the longer."""
        found = [*self._quotations(answer), *self._repetitions(answer)]
        kept: list[Evidence] = []
        for one in sorted(found, key=lambda one: one.answer_start - one.answer_end):
            if all(
                one.answer_end <= k.answer_start or k.answer_end <= one.answer_start for k in kept
            ):
                kept.append(one)
        return sorted(kept, key=lambda one: one.answer_start)

    def _quotations(self, answer: str) -> Iterator[Evidence]:
        for count, match in enumerate(_QUOTED.finditer(answer)):
            if count == _MOST:
                return
            start, end = match.span(match.lastindex or 0)
            words = list(_WORD.finditer(answer, start, end))
            found = self._locate(" ".join(word.group() for word in words))
            if found is not None:
                yield self._told(*found, words[0].start(), words[-1].end())

    def _locate(self, quoted: str) -> tuple[int, int] | None:
        """Characters of the document that say this, one space standing for any whitespace.

        A quotation is no part of a longer word or number; where the letters know no words, as in
        Chinese, it may begin anywhere.
        """
        place = -1
        for _ in range(_TRIES if quoted else 0):
            place = self._plain.find(quoted, place + 1)
            if place < 0:
                return None
            end = place + len(quoted)
            before, after = self._plain[max(place - 1, 0) : place], self._plain[end : end + 1]
            if not (_joined(before, quoted[0]) or _joined(quoted[-1], after)):
                return self._offset(place), self._offset(end - 1) + 1
        return None

    def _offset(self, place: int) -> int:
        """Where a character of the plain text, no space, stands in the document."""
        word = bisect_right(self._places, place) - 1
        return self._starts[word] + place - self._places[word]

    def _repetitions(self, answer: str) -> Iterator[Evidence]:
        said = list(_WORD.finditer(answer))
        words = [match.group() for match in said]
        place = 0
        while place + RUN <= len(words):
            first = self._runs.get(hash(tuple(words[place : place + RUN])))
            length = 0 if first is None else self._common(words, place, first)
            if first is None or length < RUN:  # a hash may lie
                place += 1
                continue
            last = first + length - 1
            yield self._told(
                self._starts[first], self._starts[last] + len(self._words[last]),
                said[place].start(), said[place + length - 1].end(),
            )  # fmt: skip
            place += length

    def _common(self, words: list[str], place: int, first: int) -> int:
        length = 0
        while (
            place + length < len(words)
            and first + length < len(self._words)
            and words[place + length] == self._words[first + length]
        ):
            length += 1
        return length

    def _told(self, start: int, end: int, answer_start: int, answer_end: int) -> Evidence:
        return Evidence(
            text=self._document[start:end],
            start=start,
            end=end,
            answer_start=answer_start,
            answer_end=answer_end,
        )


def _joined(left: str, right: str) -> bool:
    """Whether two characters that stand side by side are of one word or number."""
    lettered = [one.isdigit() or one.lower() != one.upper() for one in (left, right) if one]
    return len(lettered) == 2 and all(lettered)
