"""What InfiniteBench's rules misjudge, marked as a reader would; never a score to compare with.

Bare letters, brackets and Markdown, names of two words, thousands' commas, full-width digits,
integers as text, decimals for integers, a first operand repeated. None of it rewards an answer that
hedges: where several things are told, the first (or, for conclusions, the last) decides.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from mmspec_evals.metrics import infinitebench
from mmspec_evals.metrics.letters import chosen_letter
from mmspec_evals.metrics.token_f1 import overlap_f1

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_GROUPED = re.compile(r"(?<=\d)[,_'\u2009\u202f\xa0](?=\d{3}(?!\d))")
_RUN = re.compile(r"\d+")
_NUMBER = re.compile(r"(?<![\w.])[-+\u2212]?\d+(?:\.\d+)?(?!\w)|\d+(?:\.\d+)?(?!\w)")
_LETTERS = "ABCD"


def digits(answer: str, label: Any) -> bool:
    """The first run of digits as long as the label is the label; grouping commas do not part it."""
    wanted = str(_only(label))
    runs = _RUN.findall(_plain_digits(answer))
    return next((run for run in runs if len(run) == len(wanted)), None) == wanted


def key(answer: str, label: Any) -> bool:
    """The label stands in the answer, neither end of it glued to a letter, digit or hyphen."""
    wanted = re.escape(str(_only(label)))
    return re.search(rf"(?<![\w-]){wanted}(?![\w-])", answer, re.IGNORECASE) is not None


def any_speaker(answer: str, label: Any) -> bool:
    """A name of the label, of one word or many, is a phrase of the answer; case is nothing."""
    told = f" {' '.join(_names(answer))} "
    names = [label] if isinstance(label, str) else label
    phrases = [" ".join(_names(name)) for name in names]
    return any(phrase and f" {phrase} " in told for phrase in phrases)


def last_value(answer: str, label: Any) -> bool:
    """The last number of the answer, whatever stands around it, equals the label."""
    found = _NUMBER.findall(_plain_digits(answer))
    return bool(found) and _value(found[-1]) == _value(_only(label))


def first_value(answer: str, label: Any) -> bool:
    """The first number that is no ordinal such as 2nd equals the label, however either is spelt."""
    found = _NUMBER.search(_plain_digits(answer))
    return found is not None and _value(found.group().lstrip("-+\u2212")) == _value(_only(label))


def letter(answer: str, label: Any, options: Sequence[str] = ()) -> bool:
    """The letter, or the one option named, that the answer settles on; label (text, letter)."""
    text, right = label[0], label[1]
    known = list(options) or [text if name == right else "" for name in _LETTERS]
    told = chosen_letter(answer, known)
    return told is not None and (told == right or known[_LETTERS.index(told)] == text)


def values(answer: str, label: Any) -> float:
    """The running values, whether or not the first operand stands before them."""
    plain = _plain_digits(answer)
    return max(infinitebench.running_values(plain, label, name) for name in ("", "gpt4"))


def chinese(answer: str, label: Any) -> float:
    """Best character F1 with every mark of Unicode left out, opening title brackets too."""
    names = [label] if isinstance(label, str) else label
    told = _characters(answer)
    return max((overlap_f1(told, _characters(name)) for name in names), default=0.0)


def lenient(task: str, answer: str, label: Any, options: Sequence[str] = ()) -> float | None:
    """The lenient score, 0 to 1, never less than the official one; None for a task without it.

    A label it cannot read scores 0.
    """
    rule = RULES.get(task)
    if rule is None:
        return None
    try:
        strict = infinitebench.official(task, answer, label)
    except infinitebench.RAISES:
        strict = 0.0
    try:
        own = letter(answer, label, options) if rule is letter else rule(answer, label)
    except infinitebench.RAISES:
        own = 0.0
    return max(strict, float(own))


def _only(label: Any) -> Any:
    return label[0] if isinstance(label, list) else label


def _plain_digits(text: str) -> str:
    """Full-width and other forms folded, thousands joined."""
    return _GROUPED.sub("", unicodedata.normalize("NFKC", text))


def _value(number: Any) -> float:
    return float(str(number).replace("\u2212", "-"))


def _names(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _characters(text: str) -> list[str]:
    return [mark for mark in text.lower() if unicodedata.category(mark)[0] not in "PSZC"]


RULES: dict[str, Callable[..., float]] = {
    "passkey": digits,
    "number_string": digits,
    "kv_retrieval": key,
    "longbook_choice_eng": letter,
    "longbook_qa_chn": chinese,
    "longdialogue_qa_eng": any_speaker,
    "math_find": first_value,
    "math_calc": values,
    "code_run": last_value,
    "code_debug": letter,
}
