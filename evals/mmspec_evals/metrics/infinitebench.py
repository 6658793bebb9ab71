"""InfiniteBench's own scoring rules, task by task, with their quirks.

Every rule takes the answer and the label in whatever shape the file has it, and returns 0 to 1.
Where the official scorer stops with an error, so does the rule (with some error of ``RAISES``);
``infinitebench_lenient`` holds the rules one would rather have.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mmspec_evals.metrics.prefix import shared_length
from mmspec_evals.metrics.rouge_lsum import best_rouge_lsum
from mmspec_evals.metrics.token_f1 import characters, overlap_f1, words

if TYPE_CHECKING:
    from collections.abc import Callable

RAISES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
_NUMBER = re.compile(r"\d+\.\d+|\d+")  # digits of every script, as the official pattern has it
_DIGITS = re.compile(r"[0-9]+")
_SPACES = re.compile(" {2,}")


def first_digits(answer: str, label: Any) -> bool:
    """Passkey, number string: the first run of ASCII digits is the label, both as text."""
    wanted = _first(label)
    found = _DIGITS.search(answer)
    return bool(wanted == (found.group() if found else ""))


def whole_word(answer: str, label: Any) -> bool:
    """Key-value: the label is one word of the answer; a list never is."""
    return label in _without(answer, "\n:\"'.,?!{}").split()


def speaker(answer: str, label: Any) -> bool:
    """Dialogue: the first name of the label is one word of the answer in upper case."""
    name = label[0]
    found = _without(answer.strip(), "\n:\"'.,?!{}").split()
    return name in [word.upper() for word in found]


def last_integer(answer: str, label: Any) -> bool:
    """Code.Run: the last word, as Python reads an integer, equals the label."""
    wanted = _first(label)
    found = _without(answer.strip(), "\n.`'\":").split()
    try:
        return bool(found) and bool(wanted == int(found[-1]))
    except ValueError:
        return False


def first_number(answer: str, label: Any) -> bool:
    """Math.Find: the first number, without its sign; a decimal one for an integer label raises."""
    wanted = _first(label)
    if not isinstance(wanted, int | float):
        raise TypeError(f"the label is of type {type(wanted).__name__}, not a number")
    found = _NUMBER.search(answer)
    if found is None:
        return False
    told = int(found.group()) if isinstance(wanted, int) else float(found.group())
    return told == wanted


def buggy_function(answer: str, label: Any) -> bool:
    """Code.Debug: letter or name after certain words, one character between; label (name, letter).

    Of the words looked for, the first in this order decides, wherever it stands. A letter without
    any of them is right only at the very start, with a full stop or a colon after it.
    """
    answer = answer.strip()
    letter, name = label[1], label[0]
    if answer[:2] in (f"{letter}.", f"{letter}:"):
        return True
    plain = _without(answer, "\n`'\"-*").replace("Option", " ").replace("option", " ")
    told = _after(_SPACES.sub(" ", plain), ("answer is:", "is:", "answer:", "correct option is:"))
    return any(rest.startswith(right) for rest in told or () for right in (letter, name))


def book_choice(answer: str, label: Any) -> bool:
    """En.MC: a first character A to D decides, then the text, then certain words, then a letter."""
    answer = answer.strip()
    if not answer:
        return False
    if answer[0] in "ABCD":
        return answer[0] in label
    if answer in label:
        return True
    plain = _SPACES.sub(" ", _without(answer, "\n\"'.,?!{}"))
    told = _after(plain, ("answer is:", "answer:", "answer is", "option is"))
    if told is not None:
        return any(rest.startswith(right) for rest in told for right in label)
    letter = next((word for word in plain.split() if word in "ABCD"), None)
    return letter is not None and letter in label


def book_answer(answer: str, label: Any) -> float:
    """En.QA: the best word F1; a label that is one string is taken character by character."""
    return max((overlap_f1(words(answer), words(right)) for right in label), default=0.0)


def chinese_answer(answer: str, label: Any) -> float:
    """Zh.QA: the best character F1."""
    return max((overlap_f1(characters(answer), characters(right)) for right in label), default=0.0)


def summary(answer: str, label: Any) -> float:
    """En.Sum: ROUGE-Lsum, the best over a list of references."""
    references = label if isinstance(label, list) else [label]
    texts = [text for text in (answer, *references) if isinstance(text, str)]
    if len(texts) <= len(references):
        raise TypeError("a summary and its references are texts")
    "".join(texts).encode()  # lone surrogates stop the official scorer
    return best_rouge_lsum(answer, references)


def running_values(answer: str, label: Any, model_name: str = "") -> float:
    """Math.Calc: the share of the label that the answer's numbers get right before a first error.

    Signs are not seen. Of an answer by ``gpt4`` the first number is passed over: its prompt makes
    it begin with the first operand, which the label does not hold.
    """
    if not isinstance(label, list):
        raise TypeError(f"the label is of type {type(label).__name__}, not a list")
    wanted = label[0] if isinstance(label[0], list) else label
    told = [int(digits) for digits in _DIGITS.findall(answer)][model_name == "gpt4" :]
    return shared_length(told, wanted) / len(wanted)


def official(task: str, answer: str, label: Any, model_name: str = "") -> float:
    """The official score of one answer to one of the 12 tasks.

    Raises:
        KeyError: there is no such task. An error of ``RAISES``: the official scorer raises, too.
    """
    if task == "math_calc":
        return running_values(answer, label, model_name)
    return float(_RULES[task](answer, label))


def _first(label: Any) -> Any:
    return label[0] if isinstance(label, list) else label


def _without(text: str, marks: str) -> str:
    """The text with a space for each of the marks."""
    return text.translate(dict.fromkeys(map(ord, marks), " "))


def _after(text: str, leads: tuple[str, ...]) -> list[str] | None:
    """What stands after the first of ``leads`` that the text holds and one character more.

    In a list, which is empty when the text ends there; None when it holds none of them.
    """
    for lead in leads:
        start = text.find(lead)
        if start >= 0:
            end = start + len(lead)
            return [text[end + 1 :]] if end < len(text) else []
    return None


_RULES: dict[str, Callable[[str, Any], float]] = {
    "passkey": first_digits,
    "number_string": first_digits,
    "kv_retrieval": whole_word,
    "longbook_sum_eng": summary,
    "longbook_qa_eng": book_answer,
    "longbook_choice_eng": book_choice,
    "longbook_qa_chn": chinese_answer,
    "longdialogue_qa_eng": speaker,
    "math_find": first_number,
    "code_run": last_integer,
    "code_debug": buggy_function,
}
