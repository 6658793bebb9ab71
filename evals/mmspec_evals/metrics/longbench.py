"""LongBench's marks, 0 to 1 an answer; the benchmark shows their mean times 100."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING, Any

from mmspec_evals.metrics import fuzz, zh
from mmspec_evals.metrics.rouge_l import rouge_l

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NUMBER = re.compile(r"\d+")
_COMMENT = ("`", "#", "//")
FIRST_LINE = frozenset({"trec", "triviaqa", "samsum", "lsht"})
"""Data sets of which only the first line that is not empty is marked."""


def qa_f1(prediction: str, truth: str, classes: Any = None) -> float:
    """F1 of words, lower case, without ASCII punctuation and articles; repeats count."""
    return _f1(_plain(prediction), _plain(truth))


def qa_f1_zh(prediction: str, truth: str, classes: Any = None) -> float:
    """F1 of jieba's words without signs; repeats count."""
    said, known = ([zh.bare(word) for word in zh.words(text)] for text in (prediction, truth))
    return _f1([word for word in said if word], [word for word in known if word])


def rouge(prediction: str, truth: str, classes: Any = None) -> float:
    """ROUGE-L F as the package ``rouge`` has it."""
    return rouge_l(prediction, truth)


def rouge_zh(prediction: str, truth: str, classes: Any = None) -> float:
    """ROUGE-L F of jieba's words."""
    return rouge_l(" ".join(zh.words(prediction)), " ".join(zh.words(truth)))


def classification(prediction: str, truth: str, classes: Iterable[str]) -> float:
    """1 / (classes named), if the true one is among them; its own parts do not count as named.

    The original drops those parts from the list while it walks over it, so that after each one
    dropped the next class escapes the check. Marks depend on that.

    Raises:
        TypeError: there are no classes.
    """
    named = [name for name in classes if name in prediction]
    at = 0
    while at < len(named):
        if named[at] in truth and named[at] != truth:
            named.remove(named[at])
        at += 1
    return 1.0 / len(named) if truth in named else 0.0


def retrieval(prediction: str, truth: str, classes: Any = None) -> float:
    """Share of the numbers in the answer that are the true paragraph's.

    Raises:
        IndexError: the truth names no paragraph.
    """
    return _share(prediction, re.findall(r"Paragraph (\d+)", truth)[0])


def retrieval_zh(prediction: str, truth: str, classes: Any = None) -> float:
    """As ``retrieval``, with the word in Chinese.

    Raises:
        IndexError: the truth names no paragraph.
    """
    return _share(prediction, re.findall(r"段落(\d+)", truth)[0])


def count(prediction: str, truth: str | int, classes: Any = None) -> float:
    """Share of the numbers in the answer that are, digit by digit, the true one."""
    return _share(prediction, str(truth))


def code_similarity(prediction: str, truth: str, classes: Any = None) -> float:
    """Similarity of the first line that holds no back-tick, hash or double slash."""
    lines = prediction.lstrip("\n").split("\n")
    first = next((line for line in lines if not any(sign in line for sign in _COMMENT)), "")
    return fuzz.ratio(first, truth) / 100


METRICS: dict[str, Callable[[Any, Any, Any], float]] = {
    "narrativeqa": qa_f1,
    "qasper": qa_f1,
    "multifieldqa_en": qa_f1,
    "multifieldqa_zh": qa_f1_zh,
    "hotpotqa": qa_f1,
    "2wikimqa": qa_f1,
    "musique": qa_f1,
    "dureader": rouge_zh,
    "gov_report": rouge,
    "qmsum": rouge,
    "multi_news": rouge,
    "vcsum": rouge_zh,
    "trec": classification,
    "triviaqa": qa_f1,
    "samsum": rouge,
    "lsht": classification,
    "passage_retrieval_en": retrieval,
    "passage_count": count,
    "passage_retrieval_zh": retrieval_zh,
    "lcc": code_similarity,
    "repobench-p": code_similarity,
}


def score(dataset: str, prediction: str, answers: Iterable[Any], classes: Any = None) -> float:
    """The best mark over the answers, 0 to 1; 0 when there are none.

    Args:
        dataset: a key of ``METRICS``.
        classes: names of all classes, where the data set has them.

    Raises:
        TypeError, AttributeError, IndexError: where the official scorer raises them.
    """
    if dataset in FIRST_LINE:
        prediction = prediction.lstrip("\n").split("\n")[0]
    metric, best = METRICS[dataset], 0.0
    for answer in answers:
        best = max(best, metric(prediction, answer, classes))
    return best


def bucket(length: float) -> str:
    """LongBench-E's group for a length in words.

    >>> bucket(3999), bucket(4000), bucket(8000)
    ('0-4k', '4-8k', '8k+')
    """
    return "0-4k" if length < 4000 else "4-8k" if length < 8000 else "8k+"


def _plain(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _f1(said: list[str], known: list[str]) -> float:
    same = (Counter(said) & Counter(known)).total()
    if not same:
        return 0.0
    precision, recall = same / len(said), same / len(known)
    return 2 * precision * recall / (precision + recall)


def _share(prediction: str, number: str) -> float:
    found = _NUMBER.findall(prediction)
    return found.count(number) / len(found) if found else 0.0
