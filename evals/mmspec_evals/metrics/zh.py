"""Chinese texts as words; jieba and its dictionary are loaded when first needed."""

from __future__ import annotations

import importlib
import logging
import string
import warnings
from functools import cache
from typing import Any

from mmspec_evals.errors import DataError

# Signs that LongBench strips beside ASCII's, as first and last code points. The full-width full
# stop (U+FF0E) and the opening angle brackets (U+3008, U+300A) are left, as there.
_RANGES = (
    (0x2013, 0x2014),
    (0x2018, 0x2019),
    (0x201B, 0x201F),
    (0x2026, 0x2027),
    (0x3001, 0x3003),
    (0x300B, 0x3011),
    (0x3014, 0x301F),
    (0x3030, 0x3030),
    (0x303E, 0x303F),
    (0xFE4F, 0xFE4F),
    (0xFF01, 0xFF0D),
    (0xFF0F, 0xFF0F),
    (0xFF1A, 0xFF20),
    (0xFF3B, 0xFF40),
    (0xFF5B, 0xFF64),
)
_SIGNS = frozenset(string.punctuation).union(
    chr(code) for first, last in _RANGES for code in range(first, last + 1)
)


def words(text: str) -> list[str]:
    """Words in order, signs and whitespace among them; nothing is lost.

    Raises:
        DataError: jieba is not installed.
    """
    return list(_segmenter().cut(text, cut_all=False))


def bare(word: str) -> str:
    """Lower case, without signs and whitespace; perhaps nothing is left."""
    return "".join("".join(sign for sign in word.lower() if sign not in _SIGNS).split())


@cache
def _segmenter() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports pkg_resources where there is one
            jieba = importlib.import_module("jieba")
    except ImportError as error:
        raise DataError(
            "scoring Chinese answers needs the package jieba: pip install 'mmspec[evals]'"
        ) from error
    jieba.setLogLevel(logging.WARNING)  # it reports on stderr how it loads its dictionary
    return jieba
