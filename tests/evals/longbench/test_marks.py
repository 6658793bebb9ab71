"""LongBench's marks, case by case, each derived by hand from its rule."""

# ruff: noqa: RUF001  Chinese is written with its own signs.

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmspec_evals.metrics import fuzz, longbench, zh
from mmspec_evals.metrics.rouge_l import rouge_l

CLOSE = 1e-7  # the original's 1e-8 in a denominator moves a mark by no more


@pytest.mark.parametrize(
    ("said", "truth", "mark"),
    [
        ("The Cat!", "cat", 1),
        ("", "cat", 0),
        ("", "", 0),
        ("red blue", "blue green", 0.5),
        ("blue blue", "blue", 2 / 3),
        ("U.S.A.", "usa", 1),
        ("a an the", "the", 0),
        ("it's", "its", 1),
        ("a theatre", "theatre", 1),
        ("x-y", "x y", 0),
        ("cat！", "cat", 0),  # not an ASCII sign
        ("Paris in May", "paris", 0.5),
        ("cat\u2003dog", "dog cat", 1),
    ],
)
def test_words_shared(said, truth, mark):
    assert longbench.qa_f1(said, truth) == pytest.approx(mark, abs=1e-12)


@pytest.mark.parametrize(
    ("said", "truth", "mark"),
    [
        ("我来到北京清华大学", "我来到北京清华大学", 1),  # 我 来到 北京 清华大学
        ("北京清华大学", "我来到北京清华大学", 2 / 3),
        ("北京，清华大学。", "我来到北京清华大学", 2 / 3),
        ("北京 清华大学", "我来到北京清华大学", 2 / 3),
        ("", "北京", 0),
        ("，。", "。", 0),
        ("ABC", "abc", 1),
        ("《北京", "北京", 2 / 3),  # the opening bracket is not stripped, it counts as a word
        ("北京》", "北京", 1),
        ("北京．", "北京", 2 / 3),  # nor is the full-width full stop
        ("上海", "北京", 0),
        ("a-b", "a b", 1),  # two words either way, unlike in English
    ],
)
def test_chinese_words_shared(said, truth, mark):
    assert longbench.qa_f1_zh(said, truth) == pytest.approx(mark, abs=1e-12)


@pytest.mark.parametrize(
    ("said", "truth", "mark"),
    [
        ("a b c", "a b c", 1),
        ("a b c d", "a c", 2 / 3),  # 2 of 4, 2 of 2
        ("the the cat", "the cat", 1),  # different words count, not occurrences
        # Union of alignments: w1 w2 and w1 w3 w5, so 4 of 8 and 4 of 5.
        ("w1 w2 w6 w7 w8. w1 w3 w8 w9 w5", "w1 w2 w3 w4 w5", 2 * 0.4 / 1.3),
        ("a. ", "b. ", 0.5),  # a sentence of one empty word each
        ("a.", "b.", 0),
        ("A", "a", 0),
        ("cat, dog", "cat dog", 0.5),
        ("a\nb", "a  b", 1),
        ("3.5", "3. 5", 1),
        # "a b" against "b a" could keep either; the rule keeps a, and b comes from the other.
        ("a b. b", "b a", 1),
        ("", "a", 0),
        ("a", "", 0),
        ("...", "a", 0),
        (None, "a", 0),
        ("a", 7, 0),
    ],
)
def test_longest_common_words(said, truth, mark):
    assert longbench.rouge(said, truth) == pytest.approx(mark, abs=CLOSE)
    assert longbench.rouge(said, truth) < 1


def test_long_sentences_meet_the_recursion_limit():
    long = " ".join(f"w{n}" for n in range(995))
    assert rouge_l(long, long) == 0
    assert rouge_l(long, long, deepest=None) == pytest.approx(1, abs=CLOSE)
    halved = long.replace("w500 ", "w500. ")
    assert rouge_l(halved, halved) == pytest.approx(1, abs=CLOSE)
    assert rouge_l(halved, long) == 0  # the way back runs through the longer of the two


@pytest.mark.parametrize(
    ("said", "truth", "mark"),
    [
        ("我来到北京清华大学", "我来到北京清华大学", 1),
        ("北京清华大学", "我来到北京清华大学", 2 / 3),
        ("清华大学北京", "北京清华大学", 0.5),  # one of two in order
        ("北京。", "清华大学。", 0.5),  # the Chinese full stop is a word and ends no sentence
        ("我", "你", 0),
        ("", "北京", 0),
        ("北京", "", 0),
        ("北京.清华大学", "清华大学北京", 1),  # the ASCII one ends sentences: each finds its word
        ("北京北京", "北京", 1),
        ("  北京", "北京", 1),
    ],
)
def test_longest_common_chinese_words(said, truth, mark):
    assert longbench.rouge_zh(said, truth) == pytest.approx(mark, abs=CLOSE)


def test_chinese_marks_need_text():
    with pytest.raises(AttributeError):
        longbench.rouge_zh(None, "北京")


FOOD = ["Food", "Food drink", "drink"]


@pytest.mark.parametrize(
    ("said", "truth", "classes", "mark"),
    [
        ("Food", "Food", FOOD, 1),
        ("It is Food drink.", "Food drink", FOOD, 1),  # its parts are dropped
        ("Food drink", "Food", FOOD, 1 / 3),  # what holds it is not
        ("a b", "a b", ["a", "b", "a b"], 0.5),  # dropping a lets b escape
        ("a b", "a b", ["a", "c", "b", "a b"], 0.5),  # c is not named
        ("a b", "a b", ["a b", "a", "b"], 0.5),
        ("x, y", "y", ["x", "y"], 0.5),
        ("none", "Food", FOOD, 0),
        ("drink", "Food", FOOD, 0),
        ("food", "Food", FOOD, 0),
        ("", "Food", FOOD, 0),
        ("Food", "Food", [], 0),
        ("Food", "Food", ["", "Food"], 1),  # "" is in everything, the truth too
    ],
)
def test_classes_named(said, truth, classes, mark):
    assert longbench.classification(said, truth, classes) == pytest.approx(mark)


def test_classes_are_needed():
    with pytest.raises(TypeError):
        longbench.classification("Food", "Food", None)


NUMBERS = [
    ("{}7", 1),
    ("7", 1),
    ("It is 7.", 1),
    ("07", 0),
    ("7 or 8", 0.5),
    ("7, 7 and 3", 2 / 3),
    ("-7", 1),
    ("7.0", 0.5),
    ("17", 0),
    ("", 0),
    ("seven", 0),
    ("７", 0),  # found as a number, but not the same digit
    ("x7y", 1),
]


@pytest.mark.parametrize(("said", "mark"), NUMBERS)
def test_numbers_named(said, mark):
    assert longbench.count(said.format(""), "7") == pytest.approx(mark)
    assert longbench.count(said.format(""), 7) == pytest.approx(mark)
    assert longbench.retrieval(said.format("Paragraph "), "Paragraph 7") == pytest.approx(mark)
    assert longbench.retrieval_zh(said.format("段落"), "段落7") == pytest.approx(mark)


def test_truths_that_name_no_paragraph():
    assert longbench.retrieval("7", "Paragraph 7 Paragraph 8") == 1
    for metric, truth in (
        (longbench.retrieval, "7"),
        (longbench.retrieval, "paragraph 7"),
        (longbench.retrieval_zh, "段落 7"),
    ):
        with pytest.raises(IndexError):
            metric("7", truth)


@pytest.mark.parametrize(
    ("said", "truth", "mark"),
    [
        ("x = 1", "x = 1", 1),
        ("\n\nx = 1\ny = 2", "x = 1", 1),
        ("# so\nx = 1", "x = 1", 1),
        ("```python\nx = 1\n```", "x = 1", 1),
        ("see http://a\nx = 1", "x = 1", 1),
        ("x = 1  # one", "x = 1", 0),  # nothing is left
        ("", "", 1),
        ("# so", "", 1),
        ("x", "", 0),
        ("return x", "return y", 0.88),  # 7 of 8 kept: 87.5, to the even number
        ("abcdefgh", "aijklmno", 0.12),  # 1 of 8 kept: 12.5, to the even number
        ("a" + 39 * "b", "a" + 39 * "c", 0.03),  # 1 - 78/80 is a hair above 0.025
        ("    x", "x", 0.33),
        ("x = 1", "x = 1\n", 0.91),
        ("\n \nx", "x", 0),  # a line of a space is a line
    ],
)
def test_lines_alike(said, truth, mark):
    assert longbench.code_similarity(said, truth) == pytest.approx(mark, abs=1e-12)


@given(st.text("abc", max_size=9), st.text("abcd", max_size=9))
def test_ratio_against_the_longest_common_subsequence(first, second):
    @cache
    def longest(i, j):
        if not i or not j:
            return 0
        if first[i - 1] == second[j - 1]:
            return longest(i - 1, j - 1) + 1
        return max(longest(i - 1, j), longest(i, j - 1))

    total = len(first) + len(second)
    distance = total - 2 * longest(len(first), len(second))
    share = 1.0 - distance / total if first and second else float(first == second)
    assert fuzz.ratio(first, second) == round(100 * share)


@given(st.text(max_size=40), st.text(max_size=40))
def test_ratio_is_symmetric_and_a_percentage(first, second):
    assert fuzz.ratio(first, second) == fuzz.ratio(second, first)
    assert 0 <= fuzz.ratio(first, second) <= 100
    assert (fuzz.ratio(first, second) == 100) or first != second


@given(st.text("ab. \n", max_size=30), st.text("abc. \n", max_size=30))
def test_rouge_is_a_share_of_words(said, truth):
    mark = rouge_l(said, truth)
    assert 0 <= mark <= 1
    if not set(said.replace(".", " ").split()) & set(truth.replace(".", " ").split()):
        assert mark == 0 or "" in {part.strip() for part in said.split(".") if part}


def test_words_lose_nothing():
    text = "我来到 北京，ABC 3.5\n"
    assert "".join(zh.words(text)) == text


# The whole rule --------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["trec", "lsht"])
def test_first_line_of_classes(dataset):
    assert longbench.score(dataset, "\n\nFood\ndrink", ["Food"], ["Food", "drink"]) == 1
    assert longbench.score(dataset, " \nFood", ["Food"], ["Food"]) == 0


def test_first_line_only_where_the_original_cuts():
    assert longbench.score("triviaqa", "\ncat\nQuestion: dog", ["cat"]) == 1
    assert longbench.score("samsum", "a b\nc", ["a b"]) == pytest.approx(1, abs=CLOSE)
    assert longbench.score("hotpotqa", "\ncat\nQuestion: dog", ["cat"]) == 0.5
    assert longbench.score("gov_report", "a b\nc d", ["a b"]) == pytest.approx(2 / 3, abs=CLOSE)


def test_the_best_answer_counts():
    assert longbench.score("hotpotqa", "cat", ["dog", "cat", "bird"]) == 1
    assert longbench.score("hotpotqa", "cat", []) == 0


def test_every_data_set_has_a_metric():
    assert len(longbench.METRICS) == 21
    names = {metric.__name__ for metric in longbench.METRICS.values()}
    assert len(names) == 9


@pytest.mark.parametrize(
    ("length", "group"),
    [(0, "0-4k"), (3999, "0-4k"), (4000, "4-8k"), (7999, "4-8k"), (8000, "8k+"), (90000, "8k+")],
)
def test_groups_of_length(length, group):
    assert longbench.bucket(length) == group
