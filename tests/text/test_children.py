"""The compiled choice of children against the plain one."""

from __future__ import annotations

import numpy as np
import torch

from mmspec.core.grow import Level, children
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.text.children import likely_children

WORDS = 300


def test_it_says_what_the_plain_one_says():
    dice = torch.Generator().manual_seed(0)
    sequences = [
        Sequence(Request(str(i), Prompt(np.arange(5 + i)), Sampling(temperature=heat)), i, 7)
        for i, heat in enumerate((0.0, 0.7, 1.3))
    ]
    owner = np.array([0, 0, 1, 1, 2])
    ids = np.sort(np.random.default_rng(0).permutation(1000)[:WORDS])
    for depth in range(4):
        logits = 4 * torch.randn(len(owner), WORDS, generator=dice)
        logits[:, 17] = -torch.inf
        level = Level(owner, owner, owner, depth)
        tokens, chances = likely_children(logits.clone().numpy(), level, sequences, 6, ids)
        expected, scores = children(logits, level, sequences, 6, reach=WORDS, ids=ids)
        assert tokens.tolist() == expected.tolist()
        np.testing.assert_allclose(chances, scores, atol=1e-4)
        assert ids[17] not in tokens


def test_ids_that_cannot_be_said_are_no_children():
    logits = np.full((1, 5), -np.inf, np.float32)
    logits[0, 3] = 1.0
    one = Sequence(Request("a", Prompt(np.arange(3)), Sampling(temperature=0.0)), 0, 0)
    level = Level(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64), 0)
    tokens, chances = likely_children(logits, level, [one], 4, np.arange(10, 15))
    assert tokens[0, 0] == 13
    assert chances[0, 0] == 0.0
    assert not np.isfinite(chances[0, 1:]).any()
