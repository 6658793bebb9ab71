"""One model in two threads: each pass has the bits it has alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
import torch
from mmspec_kernels.layout import ChunkLayout

from mmspec.model.batch import Batch


@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_chunks_may_be_read_beside_each_other(name):
    target = tiny.target(name)
    texts = [np.random.default_rng(n).integers(1, 150, 24) for n in range(2)]
    cache = target.new_cache(2 * 32, 1, 0)

    def read(index):
        rope = torch.arange(24)[None]
        tokens = torch.from_numpy(texts[index])[None]
        batch = Batch(tokens, rope, ChunkLayout(base=32 * index, start=0), 24)
        return target.states(batch, cache)[0]

    alone = [read(index) for index in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(40):
            beside = list(pool.map(read, (0, 1)))
            assert all(map(torch.equal, alone, beside))
