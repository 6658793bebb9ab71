"""Standard errors, bootstrap intervals and tests, all by cluster of documents that share a source.

Documents of one book or one picture are not independent: what is resampled is always the cluster,
whole. Every statistic here that gets an interval is a function of sums over documents, so that a
resample is one matrix product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Key = TypeVar("Key", bound="Hashable")

RESAMPLES = 2000
SEED = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; no interval where fewer than two clusters stand behind it.

    Attributes:
        n: documents. clusters: independent groups among them.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int

    @property
    def ci95(self) -> list[float] | None:
        """Both ends, or None."""
        return None if self.low is None or self.high is None else [self.low, self.high]


def cluster_sums(columns: Floats, clusters: Sequence[Hashable]) -> Floats:
    """Sums of ``columns`` [n, k] within each cluster: [C, k], clusters in order of appearance."""
    index: dict[Hashable, int] = {}
    places = np.array([index.setdefault(name, len(index)) for name in clusters], np.int64)
    sums = np.zeros((len(index), columns.shape[1]))
    np.add.at(sums, places, columns)
    return sums


@lru_cache(maxsize=16)
def _draws(clusters: int, resamples: int, seed: int) -> Floats:
    """How often each cluster is drawn in each resample: [resamples, clusters]."""
    generator = np.random.default_rng(seed)
    shares = np.full(clusters, 1.0 / clusters)
    return generator.multinomial(clusters, shares, size=resamples).astype(np.float64)


def bootstrap(
    columns: Sequence[Sequence[float]] | Floats,
    clusters: Sequence[Hashable],
    statistic: Callable[[Floats], Floats],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Estimate:
    """A statistic of column sums with its percentile interval over clusters.

    Args:
        columns: [n, k], one row a document. clusters: [n]. statistic: from sums [..., k] to [...].

    Returns:
        The statistic of all rows; NaN (and no interval) where it is not defined.
    """
    if not len(clusters):
        return Estimate(math.nan, None, None, 0, 0)
    table = np.asarray(columns, np.float64)
    sums = cluster_sums(table, clusters)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(sums.sum(axis=0)))
        if len(sums) < 2 or not math.isfinite(value):
            return Estimate(value, None, None, len(table), len(sums))
        drawn = statistic(_draws(len(sums), resamples, seed) @ sums)
    drawn = drawn[np.isfinite(drawn)]  # a resample without any document to divide by says nothing
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(value, float(low), float(high), len(table), len(sums))


def over(sums: Floats) -> Floats:
    """First column over second: the ratio of sums."""
    return sums[..., 0] / sums[..., 1]


def geometric(sums: Floats) -> Floats:
    """Exponential of the first column over the second: the geometric mean of logs and counts."""
    return np.exp(sums[..., 0] / sums[..., 1])


def ratio(
    numerators: Sequence[float], denominators: Sequence[float], clusters: Sequence[Hashable]
) -> Estimate:
    """Sum over sum, paired by document."""
    return bootstrap(list(zip(numerators, denominators, strict=True)), clusters, over)


def average(values: Sequence[float], clusters: Sequence[Hashable]) -> Estimate:
    """The mean over documents; of paired differences, the mean difference."""
    return ratio(values, [1.0] * len(values), clusters)


def geometric_mean(values: Sequence[float], clusters: Sequence[Hashable]) -> Estimate:
    """The geometric mean of positive per-document ratios."""
    rows = [(math.log(value), 1.0) for value in values]
    return bootstrap(rows, clusters, geometric)


def clustered_error(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Standard error of the mean of ``values`` [n] that come in clusters.

    The formula of arXiv 2411.00640: the variance of independent documents, plus the products of
    deviations of all ordered pairs within a cluster over n squared. NaN under two clusters.
    """
    n = len(values)
    if n < 2 or len(set(clusters)) < 2:
        return math.nan
    off = np.asarray(values, np.float64) - np.mean(values)
    own = float(off @ off)
    within = float((cluster_sums(off[:, None], clusters) ** 2).sum())
    return math.sqrt(own / (n - 1) / n + (within - own) / n**2)


def sign_test(differences: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Two-sided exact sign test of paired differences, one vote a cluster; 1 when none differs.

    With each document its own cluster and marks of 0 or 1 this is McNemar's exact test: only pairs
    that disagree count, and under no difference they fall either way like a fair coin.
    """
    if not len(differences):
        return math.nan
    votes = cluster_sums(np.asarray(differences, np.float64)[:, None], clusters)[:, 0]
    ups, downs = int((votes > 0).sum()), int((votes < 0).sum())
    total = ups + downs
    tail = sum(math.comb(total, k) for k in range(min(ups, downs) + 1))
    return min(1.0, 2 * tail / 2**total)


def holm(values: Mapping[Key, float]) -> dict[Key, float]:
    """Holm's step-down correction of p values tested together; NaN stays NaN and does not count."""
    known = sorted((item for item in values.items() if not math.isnan(item[1])), key=itemgetter(1))
    corrected: dict[Key, float] = dict.fromkeys(values, math.nan)
    floor = 0.0
    for rank, (key, p) in enumerate(known):
        floor = max(floor, min(1.0, p * (len(known) - rank)))
        corrected[key] = floor
    return corrected
