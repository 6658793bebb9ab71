"""Which of the options A to D an answer settles on, read as a person would."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# A letter that is no article: "A man" names no option, "A because" does.
_LETTER = r"([B-D](?![\w'])|A(?![\w'])(?!\s+(?!because\b|since\b|as\b|or\b|and\b)\w))"
_LEAD = r"(?i:\b(?:answer|option|choice)\b(?:\s+(?:is|would be|must be|should be))?)"
_CONCLUSION = re.compile(rf"{_LEAD}[\s:=(\[]*{_LETTER}")
_START = re.compile(rf"[\s(\[\"]*{_LETTER}")
_ALONE = re.compile(rf"(?<![\w']){_LETTER}")
_MARKDOWN = str.maketrans("", "", "*`_")


def chosen_letter(answer: str, options: Sequence[str]) -> str | None:
    """A letter A to D; None when the answer names none, or several without deciding.

    In this order: the answer is an option's text, or a letter, perhaps a small one; the last
    "answer is X" of it; a letter at its start; the only letter in it; the only option whose text
    stands in it.

    Args:
        options: texts of A, B, C and D; an empty one is not known.
    """
    by_text = {_bare(text): "ABCD"[place] for place, text in reversed([*enumerate(options)])}
    by_text.pop("", None)
    bare = _bare(answer)
    if bare in by_text or bare in {"a", "b", "c", "d"}:
        return by_text.get(bare, bare.upper())
    plain = answer.translate(_MARKDOWN)
    if concluded := _CONCLUSION.findall(plain):
        return str(concluded[-1])
    if begun := _START.match(plain):
        return begun[1]
    if len(alone := set(_ALONE.findall(plain))) == 1:
        return str(alone.pop())
    named = {
        letter
        for text, letter in by_text.items()
        if re.search(rf"(?<!\w){re.escape(text)}(?!\w)", answer.casefold())
    }
    return named.pop() if len(named) == 1 else None


def _bare(text: str) -> str:
    return text.strip(" \t\n\r.,:;!?()[]{}\"'*`").casefold()
