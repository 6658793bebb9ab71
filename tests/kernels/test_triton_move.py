"""Compaction in Triton against the CPU's, under the interpreter where there is no CUDA."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmspec_kernels import compiled

pytest.importorskip("triton")
from mmspec_kernels import triton_attention

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kept_rows_move_up_in_order_whatever_the_overlap(dtype):
    dice = np.random.default_rng(0)
    for _ in range(4):
        kept = np.flatnonzero(dice.random(int(dice.integers(2, 18))) < dice.random())
        if len(kept) == 0:
            continue
        store = torch.randn(2, 2, 2, 30, 12).to(dtype)
        first = int(dice.integers(0, 10))
        wanted = store.clone()
        raw = wanted.view(torch.uint16) if dtype == torch.bfloat16 else wanted
        compiled.move_rows(raw.numpy(), first + kept, first + np.arange(len(kept)))
        moved = store.to(DEVICE)
        to, where = torch.from_numpy(np.stack([first + np.arange(len(kept)), first + kept]))
        triton_attention.move_rows(moved, where.to(DEVICE), to.to(DEVICE))
        assert torch.equal(moved.cpu(), wanted)
