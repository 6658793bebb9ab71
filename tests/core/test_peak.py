"""The compiled argmax against numpy's, on every kind of float."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmspec.core.peak import as_bits, peak, peak_of, row_of

floats = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, -0.0, -np.inf, 1.0, -1.0]
)


@given(st.lists(floats, min_size=1, max_size=40))
def test_it_is_the_first_largest(values):
    row = np.array(values, np.float32)
    expected = -1 if np.all(row == -np.inf) else int(np.argmax(row))
    assert peak_of(row) == expected


@given(st.lists(floats, max_size=20), st.sampled_from([0x7FC00000, 0xFFC00000, 0x7F800001]))
def test_any_nan_is_found(values, pattern):
    row = np.array([*values, 0.0, *values], np.float32)
    row.view(np.uint32)[len(values)] = pattern
    assert peak_of(row) == -1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_every_dtype(dtype):
    logits = (torch.randn(5, 301, generator=torch.Generator().manual_seed(0)) * 4).to(dtype)
    logits[1] = -3.0
    logits[2, 7] = float("nan")
    logits[3, 9] = float("inf")
    logits[4] = float("-inf")
    bits = as_bits(logits)
    assert [peak(row) for row in bits] == [int(logits[0].argmax()), 0, -1, -1, -1]
    assert np.array_equal(row_of(bits[0]), logits[0].float().numpy())


def test_strided_logits_are_read_right():
    logits = torch.arange(24.0).reshape(4, 6).t()
    assert [peak(row) for row in as_bits(logits)] == [3] * 6
