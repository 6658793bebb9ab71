"""LongBench v2: which letter an answer names."""

from __future__ import annotations

import re

_IN_BRACKETS = re.compile(r"The correct answer is \(([A-D])\)")
_BARE = re.compile(r"The correct answer is ([A-D])")


def letter(response: str) -> str | None:
    """The letter after the first "The correct answer is", in brackets if any is so, else bare.

    Asterisks are taken away first; case counts; a bare letter may begin a word ("Because" is B).

    >>> letter("The correct answer is **(C)**.")
    'C'
    """
    text = response.strip().replace("*", "")
    found = _IN_BRACKETS.search(text) or _BARE.search(text)
    return found.group(1) if found else None
