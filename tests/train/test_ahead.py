"""Steps made ahead by workers: the same values in the same order, from any step, errors told."""

from functools import partial

import numpy as np
import pytest

from mmspec.train.ahead import Ahead


def _row(shift: int, step: int) -> np.ndarray:
    if step == 7:
        raise ValueError("no row for 7")
    return np.arange(3) + shift * step


def test_workers_make_what_would_be_made_here():
    here, ahead = (Ahead(partial(_row, 10), 6, workers) for workers in (0, 2))
    for step in (0, 1, 2, 4, 5):  # 4 does not follow 2: a run that goes on elsewhere
        assert np.array_equal(here(step), ahead(step))


def test_a_workers_error_reaches_the_loop():
    ahead = Ahead(partial(_row, 1), 8, 1)
    with pytest.raises(ValueError, match="no row for 7"):
        ahead(7)
