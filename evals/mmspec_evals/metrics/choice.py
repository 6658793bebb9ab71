"""Letters of a multiple choice: ScienceQA and SEED-Bench, by LLaVA's rules and lmms-eval's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LLAVA_LETTERS = "ABCDE"
_SAID = re.compile(r"The answer is ([A-Z]).")  # the full stop stands for any character


def scienceqa_llava(
    prediction: str, answer: int | str, choices: Sequence[object] | None = None
) -> float:
    """1 if LLaVA's ``eval_science_qa.py`` finds the right letter, else 0.

    A bare letter, or a letter with ". " after it, or exactly one "The answer is X" with one more
    character after it. "B." alone fails, and so do two such sentences.

    Args:
        answer: place of the right choice, or its letter. choices: all of them; None for five.

    Raises:
        IndexError: the answer is no place among A to E.
    """
    place = LLAVA_LETTERS.index(answer) if isinstance(answer, str) else answer
    LLAVA_LETTERS[place]  # raises where the official scorer does
    known = LLAVA_LETTERS[: len(LLAVA_LETTERS) if choices is None else len(choices)]
    letter = _llava_letter(prediction)
    return float((known.index(letter) if letter and letter in known else -1) == place)


def scienceqa_lmms_eval(
    prediction: str, answer: int | str, choices: Sequence[object] | None = None
) -> float:
    """1 if lmms-eval's ``scienceqa`` finds the right letter, else 0: "B" and "B. ..." and "B.".

    Raises:
        IndexError: the answer is no place among the choices.
    """
    if isinstance(answer, str):
        target = answer
    else:
        target = [chr(ord("A") + at) for at in range(26 if choices is None else len(choices))][
            answer
        ]
    if prediction == target:
        return 1.0
    lettered = len(prediction) >= 2 and prediction[0].isupper() and prediction[1] == "."
    return float(lettered and prediction[0] == target)


def seedbench_lmms_eval(prediction: str, answer: str) -> float:
    """1 if the first character that is not white space is the letter, else 0: "Because" is B."""
    return float(prediction.strip()[:1] == answer)


def seedbench_llava(prediction: str, answer: str) -> float:
    """1 if the whole text is the letter, else 0."""
    return float(prediction == answer)


def _llava_letter(prediction: str) -> str | None:
    if len(prediction) == 1 and prediction in LLAVA_LETTERS:
        return prediction
    if prediction[:1] and prediction[0] in LLAVA_LETTERS and prediction[1:3] == ". ":
        return prediction[0]
    said = _SAID.findall(prediction)
    return said[0] if len(said) == 1 else None
