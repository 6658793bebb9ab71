"""Noise: the same bits in both forms, the right law, and no relation between keys."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmspec.core.noise import gumbel, gumbel_at, gumbel_ceiling, gumbel_of, gumbel_tensor, key

EULER = 0.57721566490153
SEEDS = st.integers(-(2**63), 2**63 - 1)


def law(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.exp(-x.astype(np.float64)))


def distance(sample: np.ndarray) -> float:
    """Kolmogorov-Smirnov statistic times sqrt(N); above 1.95 in one of 1000 honest samples."""
    reached = law(np.sort(sample))
    steps = np.arange(len(sample) + 1) / len(sample)
    gap = max(np.max(steps[1:] - reached), np.max(reached - steps[:-1]))
    return float(gap * np.sqrt(len(sample)))


@given(SEEDS, st.integers(0, 15), st.integers(0, 2**40), st.integers(0, 2**31))
def test_both_forms_have_the_same_bits(seed, choice, position, first):
    tokens = np.arange(first, first + 64)
    ours = gumbel_at(seed, choice, position, tokens)
    theirs = gumbel_tensor(seed, choice, torch.tensor(position), torch.from_numpy(tokens))
    assert ours.dtype == np.float32
    assert ours.tobytes() == theirs.numpy().tobytes()


def test_bits_agree_over_a_whole_vocabulary_and_broadcast():
    positions = torch.tensor([[0], [7], [131_071]])
    table = gumbel_tensor(11, 3, positions, torch.arange(50_000)).numpy()
    for row, position in zip(table, (0, 7, 131_071), strict=True):
        assert row.tobytes() == gumbel(11, 3, position, 50_000).tobytes()
    seeds, choices = torch.tensor([[5], [-9]]), torch.tensor([[0], [2]])
    mixed = gumbel_tensor(seeds, choices, torch.tensor([[4], [6]]), torch.arange(9)).numpy()
    assert mixed[0].tobytes() == gumbel(5, 0, 4, 9).tobytes()
    assert mixed[1].tobytes() == gumbel(-9, 2, 6, 9).tobytes()


def test_subset_is_the_whole_taken_apart():
    tokens = np.array([8191, 3, 77, 3])
    assert np.array_equal(gumbel_at(1, 2, 3, tokens), gumbel(1, 2, 3, 8192)[tokens])


def test_golden_values():
    """A change here changes every seeded text ever served."""
    assert key(0, 0, 0) == 0x238275BC38FCBE91
    assert [float(x) for x in gumbel(0, 0, 0, 4)] == [
        -0.7143951058387756,
        -1.0977226495742798,
        0.9163217544555664,
        0.9934971928596497,
    ]
    assert [float(x) for x in gumbel_at(-1, 15, 10**6, np.array([0, 151_935]))] == [
        0.9602448344230652,
        -0.3733900487422943,
    ]


def test_logarithms_are_exact_to_the_last_float32_place():
    rng = np.random.default_rng(0)
    bits = np.concatenate(
        [rng.integers(0, 2**52, 2000), 2 ** np.arange(52), 2**52 - 2 ** np.arange(52)]
    )
    ours = np.array([gumbel_of(np.uint64(x)) for x in bits])
    ceilings = np.array([gumbel_ceiling(np.uint64(x)) for x in bits])
    assert np.all(ceilings > ours + 5e-4)
    assert np.all(ceilings[bits > 2**51] < ours[bits > 2**51] + 1.1)
    unit = (2 * bits.astype(object) + 1) / 2**53
    near_one = np.array([float(2**53 - 2 * int(x) - 1) / 2**53 for x in bits])
    exact = -np.log(-np.where(near_one < 0.5, np.log1p(-near_one), np.log(unit.astype(np.float64))))
    assert np.all(np.isfinite(ours))
    assert np.max(np.abs(ours - exact) / np.maximum(np.abs(exact), 1e-3)) < 1e-7


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, -1])
def test_law_is_gumbel_along_every_axis(seed):
    count = 100_000
    axes = {
        "tokens": gumbel(seed, 0, 17, count),
        "positions": gumbel_tensor(seed, 0, torch.arange(count), torch.tensor(5)).numpy(),
        "seeds": gumbel_tensor(
            torch.arange(count) + seed // 2, 0, torch.tensor(3), torch.tensor(5)
        ).numpy(),
        "choices": gumbel_tensor(
            seed, torch.arange(count), torch.tensor(3), torch.tensor(5)
        ).numpy(),
    }
    for name, sample in axes.items():
        assert abs(sample.mean(dtype=np.float64) - EULER) < 4 * 1.2825 / np.sqrt(count), name
        assert abs(sample.var(dtype=np.float64) / (np.pi**2 / 6) - 1) < 0.03, name
        assert distance(sample) < 1.95, name


def test_neighbouring_keys_are_independent():
    count = 50_000
    base = law(gumbel(9, 0, 100, count))
    others = {
        "position": gumbel(9, 0, 101, count),
        "choice": gumbel(9, 1, 100, count),
        "seed": gumbel(10, 0, 100, count),
        "sign": gumbel(-9, 0, 100, count),
        "swapped": gumbel(100, 0, 9, count),
        "token": gumbel(9, 0, 100, count + 1)[1:],
    }
    for name, noise in others.items():
        other = law(noise)
        correlation = np.corrcoef(base, other)[0, 1]
        assert abs(correlation) < 4.5 / np.sqrt(count), name
        cells = np.histogram2d(base, other, bins=8, range=[[0, 1], [0, 1]])[0]
        chi = np.sum((cells - count / 64) ** 2 / (count / 64))
        assert chi < 110, name  # 63 degrees of freedom: exceeded once in 4000


def test_arguments_do_not_alias():
    rows = {gumbel(s, c, p, 4).tobytes() for s in range(6) for c in range(6) for p in range(6)}
    assert len(rows) == 216
