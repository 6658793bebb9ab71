"""The compiled choice of children against the plain one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_children import children

from mmspec.core.drafter import Facts
from mmspec.core.grow import Level
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.text.guesses import Guesses, Rules

WORDS = 300
FACTS = Facts(vocabulary=1000, context=100)


def guesses(ids, sequences, k, **facts):
    rules = Rules(Facts(vocabulary=1000, context=100, **facts), ids, k, 0.0)
    return Guesses(rules, sequences)


def roots(owner):
    nobody = np.full(len(owner), -1)
    return Level(owner, np.zeros(len(owner), np.int64), nobody, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_it_says_what_the_plain_one_says(dtype):
    dice = torch.Generator().manual_seed(0)
    sequences = [
        Sequence(Request(str(i), Prompt(np.arange(5 + i)), Sampling(temperature=heat)), i, 7)
        for i, heat in enumerate((0.0, 0.7, 1.3))
    ]
    owner = np.array([0, 0, 1, 1, 2])
    ids = np.sort(np.random.default_rng(0).permutation(1000)[:WORDS])
    for _ in range(4):
        logits = (4 * torch.randn(len(owner), WORDS, generator=dice)).to(dtype)
        logits[:, 17] = -torch.inf
        tokens, chances = guesses(ids, sequences, 6).children(logits, roots(owner))
        expected, scores = children(logits, roots(owner), sequences, 6, reach=WORDS, ids=ids)
        if dtype != torch.bfloat16:  # whose logits tie
            assert tokens.tolist() == expected.tolist()
        np.testing.assert_allclose(chances, scores, atol=1e-4)
        assert ids[17] not in tokens


def test_ids_that_cannot_be_said_are_no_children():
    one = Sequence(Request("a", Prompt(np.arange(3)), Sampling(temperature=0.0)), 0, 0)
    logits = torch.zeros(1, 5)
    logits[0, 3] = 1.0
    asked = guesses(np.arange(10, 15), [one], 4, media_tokens=frozenset({10, 11, 12, 14}))
    tokens, chances = asked.children(logits, roots(np.zeros(1, np.int64)))
    assert tokens[0, 0] == 13
    assert chances[0, 0] == 0.0
    assert not np.isfinite(chances[0, 1:]).any()


def test_paths_judgements_floors_and_ends():
    """Two levels by hand: a node's guesses count with its path and with the judge's doubt."""
    one = Sequence(Request("a", Prompt(np.arange(3)), Sampling(temperature=0.0)), 0, 0)
    rules = Rules(Facts(vocabulary=9, context=9, stop_tokens=frozenset({2})), np.arange(3), 3, 0.1)
    asked = Guesses(rules, [one])
    law, sure = np.array([0.7, 0.2, 0.1]), 0.8
    said = torch.tensor([[*np.log(law), np.log(sure / (1 - sure))]])
    tokens, chances = asked.children(said, roots(np.zeros(1, np.int64)), judged=True)
    assert tokens.tolist() == [[0, 1, 2]]
    # 0.1 * 0.8 is below the floor.
    np.testing.assert_allclose(np.exp(chances[0]), [0.56, 0.16, 0.0], atol=1e-6)
    zero = np.zeros(2, np.int64)
    level = Level(zero, np.array([0, 1]), zero, 1)
    _, chances = asked.children(said.expand(2, -1).contiguous(), level, judged=True)
    np.testing.assert_allclose(np.exp(chances), [[0.56, 0.16 * (0.56 * 0.16 >= 0.1), 0], [0, 0, 0]],
                               atol=1e-6)  # fmt: skip
    level = Level(zero[:1], np.array([0]), zero[:1], 2)
    asked.children(said, level, judged=True)
    # Nothing follows an end of text, however likely the path.
    sure_end = torch.tensor([[-9.0, -9.0, 9.0, 9.0]])
    asked = Guesses(rules, [one])
    asked.children(sure_end, roots(np.zeros(1, np.int64)), judged=True)
    level = Level(zero[:1], np.array([2]), zero[:1], 1)
    _, chances = asked.children(said, level, judged=True)
    assert not np.isfinite(chances).any()
