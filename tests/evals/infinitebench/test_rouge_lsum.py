"""ROUGE-Lsum against an independent reading of its definition."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmspec_evals.metrics.rouge_lsum import best_rouge_lsum, common, rouge_lsum

LINE = st.lists(st.sampled_from("abc"), max_size=7)


def longest(a, b):
    """Length of a longest common subsequence, by its recursive definition."""

    @cache
    def of(i, j):
        if not i or not j:
            return 0
        if a[i - 1] == b[j - 1]:
            return of(i - 1, j - 1) + 1
        return max(of(i - 1, j), of(i, j - 1))

    return of(len(a), len(b))


@given(LINE, LINE)
def test_one_line_is_the_plain_subsequence_score(told, asked):
    length = longest(tuple(told), tuple(asked))
    expected = 2 * length / (len(told) + len(asked)) if length else 0
    assert rouge_lsum(" ".join(told), " ".join(asked)) == pytest.approx(expected, abs=1e-12)


@given(LINE, LINE)
def test_places_are_a_longest_common_subsequence(line, other):
    places = common(line, other)
    assert places == sorted(set(places))
    assert len(places) == longest(tuple(line), tuple(other))
    rest = iter(other)
    assert all(line[place] in rest for place in places)


@given(st.lists(LINE, max_size=4), st.lists(LINE, max_size=4))
def test_a_score_is_a_share_and_a_text_equals_itself(told, asked):
    first, second = ("\n".join(" ".join(line) for line in lines) for lines in (told, asked))
    assert 0 <= rouge_lsum(first, second) <= 1
    assert rouge_lsum(first, first) == (1 if any(told) else 0)


def test_of_two_subsequences_the_one_found_first_from_the_end_counts():
    # "a b" and "b a" share one word; stepping back in the reference first, "b" is passed over.
    assert common(["a", "b"], ["b", "a"]) == [0]
    # The other line matches both words, so the union has each once: 2 of 4 told, 2 of 2 asked.
    assert rouge_lsum("b a\na b", "a b") == pytest.approx(2 * (2 / 4) * 1 / (2 / 4 + 1))


def test_the_best_of_several_and_of_none():
    assert best_rouge_lsum("a", ["b", "a b", "c"]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="empty"):
        best_rouge_lsum("a", [])
