"""Intervals and tests against closed forms and hand-computed cases."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmspec_evals.results import stats

POSITIVE = st.lists(st.floats(0.01, 100.0), min_size=2, max_size=30)


def test_clustered_error_of_single_documents_is_the_usual_one():
    values = [1.0, 0.0, 0.0, 1.0, 1.0]
    usual = np.std(values, ddof=1) / math.sqrt(5)
    assert stats.clustered_error(values, list("abcde")) == pytest.approx(usual)


def test_clustered_error_by_hand():
    # mean 1/2, deviations +-1/2; CLT variance (4 * 1/4) / 3 / 4 = 1/12
    # within each cluster of two alike: 2 ordered pairs * 1/4, two clusters: 1 / 16
    assert stats.clustered_error([1, 1, 0, 0], list("aabb")) == pytest.approx(
        math.sqrt(1 / 12 + 1 / 16)
    )
    # each cluster holds opposites: the products are negative
    assert stats.clustered_error([1, 0, 1, 0], list("aabb")) == pytest.approx(
        math.sqrt(1 / 12 - 1 / 16)
    )


def test_one_cluster_has_no_error_and_no_interval():
    assert math.isnan(stats.clustered_error([1, 0, 1], list("aaa")))
    assert stats.average([1.0, 0.0], ["a", "a"]).ci95 is None
    assert stats.average([], []).n == 0
    assert math.isnan(stats.average([], []).value)


@given(POSITIVE)
def test_ratio_with_itself_is_one_without_width(values):
    found = stats.ratio(values, values, range(len(values)))
    assert [found.value, found.low, found.high] == pytest.approx([1.0, 1.0, 1.0], abs=1e-12)


@settings(deadline=None)
@given(POSITIVE, st.floats(0.1, 10.0))
def test_ratio_scales_and_inverts(values, factor):
    slower = [value * factor for value in values]
    found = stats.ratio(slower, values, range(len(values)))
    back = stats.ratio(values, slower, range(len(values)))
    assert found.value == pytest.approx(factor)
    assert back.value * found.value == pytest.approx(1.0)
    assert found.low <= found.high


def test_ratio_of_sums_is_not_the_mean_of_ratios():
    found = stats.ratio([10.0, 1.0], [1.0, 1.0], "ab")
    assert found.value == pytest.approx(5.5)
    assert stats.geometric_mean([10.0, 1.0], "ab").value == pytest.approx(math.sqrt(10))


def test_interval_of_a_mean_is_near_the_normal_one():
    values = np.random.default_rng(3).normal(5.0, 2.0, 400)
    found = stats.average(values, range(400))
    half = 1.96 * np.std(values, ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.05)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05)


def test_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(11)
    covered = 0
    for _ in range(200):
        base = generator.uniform(1, 2, 40)
        noisy = base * np.exp(generator.normal(0, 0.1, 40))
        found = stats.bootstrap(np.stack([noisy, base], 1), range(40), stats.over, resamples=500)
        covered += found.low <= math.exp(0.005) <= found.high
    assert 180 <= covered <= 199  # 95 % of 200 is 190


def test_interval_is_wider_when_documents_share_a_source():
    values = np.repeat(np.random.default_rng(5).normal(0, 1, 20), 10)
    alone = stats.average(values, range(200))
    shared = stats.average(values, np.repeat(np.arange(20), 10).tolist())
    assert shared.clusters == 20
    assert shared.high - shared.low > 2 * (alone.high - alone.low)
    # the closed form says the same: its width is that of the 20 sources
    wide = stats.clustered_error(values, np.repeat(np.arange(20), 10).tolist())
    assert shared.high - shared.low == pytest.approx(2 * 1.96 * wide, rel=0.15)


def test_bootstrap_is_the_same_every_time():
    rows = np.random.default_rng(0).uniform(1, 2, (25, 2))
    assert stats.bootstrap(rows, range(25), stats.over) == stats.bootstrap(
        rows, range(25), stats.over
    )


def test_resamples_without_anything_to_divide_by_are_left_out():
    found = stats.ratio([1.0, 0.0], [1.0, 0.0], "ab")
    assert [found.value, found.low, found.high] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1] * 6, 2 / 64),
        ([1, 1, 1, 1, 1, -1], 2 * (1 + 6) / 64),
        ([0, 0, 0], 1.0),
        ([1, -1], 1.0),
        ([1, 0, 0, 1, 1, 1, 1, 0], 2 / 32),
    ],
)
def test_sign_test_by_hand(differences, p):
    assert stats.sign_test(differences, range(len(differences))) == pytest.approx(p)


def test_sign_test_votes_by_cluster():
    assert stats.sign_test([1] * 6, list("aaabbb")) == pytest.approx(2 / 4)
    assert stats.sign_test([1, -1, 1, 1], list("aabb")) == 1.0
    assert math.isnan(stats.sign_test([], []))


def test_holm_by_hand():
    found = stats.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": math.nan})
    assert found["a"] == pytest.approx(0.03)
    assert found["c"] == pytest.approx(0.06)
    assert found["b"] == pytest.approx(0.06)  # never below one that ranks before it
    assert math.isnan(found["d"])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_and_keeps_order(values):
    found = stats.holm(dict(enumerate(values)))
    assert all(values[k] <= found[k] <= 1.0 for k in found)
    ranked = sorted(found, key=lambda k: values[k])
    assert all(found[a] <= found[b] for a, b in itertools.pairwise(ranked))
