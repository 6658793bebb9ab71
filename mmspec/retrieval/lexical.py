"""Ranking by words: BM25, which needs no model. The default."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import bm25s
import numpy as np

from mmspec.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

# A word, or one character of a script that writes without spaces between words.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+"
)


class Lexical:
    """BM25 in Lucene's variant (Robertson et al. 1994; Lu 2024).

    A word that stands in nearly every passage counts next to nothing, so there is no list of words
    to be passed over, and no language to be guessed.

    Args:
        k1: how soon a word's repetition counts no more. b: how much long passages are discounted.
    """

    def __init__(self, k1: float = 1.5, b: float = 0.75) -> None:
        self._k1 = k1
        self._b = b

    def read(self, passages: Sequence[str]) -> LexicalRanking:
        """Count the words of passages."""
        return LexicalRanking([words(passage) for passage in passages], self._k1, self._b)


def ranker(detail: str) -> Lexical:
    """The ranker ``lexical``.

    Raises:
        ConfigError: it is told something: it needs nothing.
    """
    if detail:
        raise ConfigError(f"ranker lexical:{detail}: it is made from nothing; say lexical")
    return Lexical()


class LexicalRanking:
    """Counted passages."""

    def __init__(self, passages: list[list[str]], k1: float, b: float) -> None:
        self._count = len(passages)
        self._known = {word for passage in passages for word in passage}
        self._index = bm25s.BM25(k1=k1, b=b, method="lucene")
        if self._known:
            self._index.index(passages, show_progress=False)

    def scores(self, question: str) -> np.ndarray:
        """BM25 of each passage, float32 [P]; 0: no word in common."""
        asked = [word for word in dict.fromkeys(words(question)) if word in self._known]
        if not asked:
            return np.zeros(self._count, np.float32)
        return np.asarray(self._index.get_scores(asked), np.float32)


def words(text: str) -> list[str]:
    """The words of a text as they are compared: without case."""
    return _WORD.findall(text.casefold())
