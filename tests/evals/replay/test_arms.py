"""Arms that the engine has not: guesses deaf to the noise, and other ways to thin what quotes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmspec_evals.replay.deterministic import Deaf, Deterministic
from mmspec_evals.replay.pruned import by_count, softly

from mmspec.core.drafter import Budget, Facts
from mmspec.core.grow import Level
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.text import eagle_growth
from mmspec.text.guesses import Guesses, Rules

RULES = Rules(Facts(vocabulary=50, context=100), np.arange(50), 4, 0.0)


def sequence(heat):
    return Sequence(Request("a", Prompt(np.arange(5)), Sampling(temperature=heat)), 0, 7)


def test_the_deaf_rank_by_chance_at_the_requests_temperature():
    logits = torch.randn(1, 51, generator=torch.Generator().manual_seed(0))
    zero = np.zeros(1, np.int64)
    level = Level(zero, zero, zero - 1, 0)
    tokens, chances = Deaf(RULES, [sequence(0.6)]).children(logits, level, judged=True)
    law = torch.log_softmax(logits[0, :50] / 0.6, 0)
    best = torch.topk(law, 4)
    sure = torch.nn.functional.logsigmoid(logits[0, 50])
    assert tokens[0].tolist() == best.indices.tolist()
    np.testing.assert_allclose(chances[0], (best.values + sure).numpy(), atol=1e-5)
    heard, _ = Guesses(RULES, [sequence(0.6)]).children(logits, level, judged=True)
    assert heard[0].tolist() != tokens[0].tolist()
    for one, other in zip(
        Deaf(RULES, [sequence(0.0)]).children(logits, level, judged=True),
        Guesses(RULES, [sequence(0.0)]).children(logits, level, judged=True),
        strict=True,
    ):
        assert np.array_equal(one, other)


def test_nobody_else_goes_deaf():
    class Other:
        def draft(self, sequences, budgets):
            self.used = eagle_growth.Guesses
            return [TokenTree.root(1)]

    other = Other()
    assert len(Deterministic(other).draft([sequence(1.0)], [Budget(4, 4)])) == 1
    assert other.used is Deaf
    assert eagle_growth.Guesses is Guesses


def fork(chances, source):
    """Two first tokens, 4 and 5, each with one guess below."""
    scores = np.log(np.array([1.0, chances[0], chances[0] / 2, chances[1], chances[1] / 2]))
    return TokenTree(
        np.array([1, 4, 6, 5, 7]), np.array([-1, 0, 1, 0, 3], np.int32),
        scores.astype(np.float32), np.full(5, source, np.uint8),
    )  # fmt: skip


def test_what_is_counted_most_stays():
    guessed, told = by_count([fork((0.5, 0.4), 0), fork((0.3, 0.6), 1)], 0b1)
    assert len(guessed) == 5
    assert told.tokens.tolist() == [1, 5, 7]
    assert len(by_count([TokenTree.root(1)], 0b1)[0]) == 1


def test_a_first_token_has_the_mean_of_both_chances():
    model = TokenTree.chain(np.array([1, 4]), np.log([1.0, 0.8]), 0)
    guessed, told = softly([model, fork((0.2, 0.6), 1)], 0b1)
    assert guessed is model
    told.check()
    np.testing.assert_allclose(np.exp(told.scores), [1.0, 0.5, 0.25, 0.3, 0.15], atol=1e-6)
    (alone,) = softly([fork((0.2, 0.6), 1)], 0b1)
    assert np.exp(alone.scores[1]) == pytest.approx(0.2)
