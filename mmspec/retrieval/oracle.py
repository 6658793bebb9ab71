"""Ranking by what is known to be the answer: as good as passages can be. For ablations.

A file says, for questions that will be asked, which texts of their documents hold the answer. A
passage is as near as the share of such a text's pairs of words that it has, so that a text cut in
two is found in both passages.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmspec.core.errors import ConfigError
from mmspec.retrieval.lexical import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Oracle:
    """Knows what is asked.

    Args:
        evidence: question -> the texts that answer it.
    """

    def __init__(self, evidence: Mapping[str, Sequence[str]]) -> None:
        # The longest first: a question may stand in another one.
        asked = sorted(evidence, key=lambda question: -len(question))
        self._known = [(words(one), [_pairs(text) for text in evidence[one]]) for one in asked]

    def read(self, passages: Sequence[str]) -> OracleRanking:
        """Read the words of passages."""
        return OracleRanking([_pairs(passage) for passage in passages], self._known)


class OracleRanking:
    """Passages as pairs of words that follow one another."""

    def __init__(
        self,
        passages: list[set[tuple[str, str]]],
        known: list[tuple[list[str], list[set[tuple[str, str]]]]],
    ) -> None:
        self._passages, self._known = passages, known

    def scores(self, question: str) -> np.ndarray:
        """Float32 [P]; all 0 where the question holds none that is known."""
        said = f" {' '.join(words(question))} "
        for asked, texts in self._known:
            if f" {' '.join(asked)} " in said:
                return np.array([_share(texts, one) for one in self._passages], np.float32)
        return np.zeros(len(self._passages), np.float32)


def ranker(detail: str) -> Oracle:
    """The ranker ``oracle:FILE``, of JSON: ``{"question": ["text", ...], ...}``.

    Raises:
        ConfigError: no such file, or another form.
    """
    try:
        known = msgspec.json.decode(Path(detail).read_bytes(), type=dict[str, list[str]])
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"ranker oracle:{detail}: {error}") from error
    return Oracle(known)


def _pairs(text: str) -> set[tuple[str, str]]:
    said = words(text)
    return set(pairwise(said))


def _share(texts: list[set[tuple[str, str]]], passage: set[tuple[str, str]]) -> float:
    return max((len(text & passage) / len(text) for text in texts if text), default=0.0)
