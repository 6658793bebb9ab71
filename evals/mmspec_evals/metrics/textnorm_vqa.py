"""How VQA scorers rewrite an answer before comparing: punctuation, number words, articles.

The rules are those of GT-Vision-Lab/VQA ``vqaEval.py`` and of the "EvalAI" processor that TextVQA's
scorer and lmms-eval share; the two differ only in what they take for a number with commas.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
ARTICLES = frozenset({"a", "an", "the"})
NUMBERS: Mapping[str, str] = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten".split()  # noqa: SIM905
    )
} | {"none": "0"}

# Words that are looked for without (all of) their apostrophes. The official table has keys with
# capital letters too (I'd've, I'm, I've), which nothing in lower case can match.
_ONE_APOSTROPHE = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd
how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock
oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's
something'd something'll that's there'd there're there's they'd they'll they're they've 'twas
wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
_MORE_APOSTROPHES = """
couldn't've hadn't've he'd've it'd've mightn't've 'ow's'at she'd've shouldn't've somebody'd've
someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've
you'd've
"""

# Meant as "not after and not before a digit", but the first half is misspelt and always true.
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS_REMOVED = 32  # the flag re.UNICODE (32) was passed where the count belongs
_COMMA_OFFICIAL = re.compile(r"\d,\d")
_COMMA_EVALAI = re.compile(r"\d,+\d")


def official_punctuation(text: str) -> str:
    """Drop or blank punctuation as ``vqaEval.py`` does; "1,000" makes all of it vanish."""
    return _punctuation(text, _COMMA_OFFICIAL)


def evalai_punctuation(text: str) -> str:
    """The same for the EvalAI processor, for which "1,,000" is a number too."""
    return _punctuation(text, _COMMA_EVALAI)


def plain_words(text: str) -> str:
    """Lower case; number words as digits ("none" is 0), no articles, apostrophes put back."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def evalai(text: str) -> str:
    """An answer as the EvalAI processor leaves it.

    >>> evalai("It's a/b, U.S.A.")
    "it 's b usa"
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return plain_words(evalai_punctuation(one_line(text)))


def one_line(text: str) -> str:
    """Line feeds and tabs as spaces, ends stripped."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def _punctuation(text: str, comma: re.Pattern[str]) -> str:
    told = text
    number = comma.search(text) is not None
    for mark in PUNCTUATION:
        # Asked of the text as it came, not as it has become: one spaced mark drops all its kind.
        apart = mark + " " in text or " " + mark in text
        told = told.replace(mark, "" if apart or number else " ")
    return _PERIOD.sub("", told, count=_PERIODS_REMOVED)


def _contractions() -> dict[str, str]:
    table = {word.replace("'", ""): word for word in _ONE_APOSTROPHE.split()}
    for word in _MORE_APOSTROPHES.split():
        places = [at for at, letter in enumerate(word) if letter == "'"]
        table |= {word[:at] + word[at + 1 :]: word for at in places}
    # This one goes the other way in the official table.
    return table | {"somebody'd": "somebodyd"}


_CONTRACTIONS: Mapping[str, str] = _contractions()
