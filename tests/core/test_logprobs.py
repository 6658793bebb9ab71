"""Reported log-probabilities are the target's own, row by row."""

import numpy as np
import pytest
import torch

from mmspec.core.logprobs import logprobs


@pytest.mark.parametrize("top", [0, 1, 5, 20])
def test_against_torch(top):
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(1)) * 5
    tokens = np.array([0, 7, 49, 3, 3, 12])
    exact = torch.log_softmax(logits.double(), -1).numpy()
    reports = logprobs(logits, tokens, top)
    for row, token, report in zip(exact, tokens, reports, strict=True):
        assert report.token == token
        assert abs(report.logprob - row[token]) < 2e-6
        best = np.argsort(-row, kind="stable")[:top]
        assert [id for id, _ in report.top] == best.tolist()
        assert np.allclose([value for _, value in report.top], row[best], atol=2e-6)
    assert [logprobs(logits[i : i + 1], tokens[i : i + 1], top)[0] for i in range(6)] == reports


def test_ties_and_narrow_rows():
    report = logprobs(torch.tensor([[1.0, 2.0, 2.0, 1.0]]), np.array([2]), 3)[0]
    assert [id for id, _ in report.top] == [1, 2, 0]
    report = logprobs(torch.tensor([[1.0, 2.0]]).bfloat16(), np.array([0]), 20)[0]
    assert [id for id, _ in report.top] == [1, 0]
