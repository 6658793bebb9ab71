"""Muon: equal steps in every direction, AdamW for the rest, and a state that goes on exactly."""

import pytest
import torch
from torch import nn

from mmspec.train.language import muon_matrices, trained_parameters
from mmspec.train.muon import MasterMuon, orthogonal


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_an_orthogonal_matrix_keeps_the_directions_and_levels_their_sizes(shape):
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(side, min(shape)))[0] for side in shape)
    sizes = torch.logspace(0, -1.5, min(shape))
    made = orthogonal(left * sizes @ right.T)
    told = left.T @ made @ right
    assert float(told.diagonal().min()) > 0.6
    assert float(told.diagonal().max()) < 1.3
    assert float((told - torch.diag(told.diagonal())).abs().max()) < 0.1


def test_the_copying_attention_is_left_to_adam(model):
    names = muon_matrices(trained_parameters(model, 0))
    assert any("layers.0.mlp" in name for name in names)
    assert not any("self_attn" in name for name in names)  # this model has two layers
    assert not any("embed" in name or "norm" in name for name in names)


def _pair(seed):
    torch.manual_seed(seed)
    return {"matrix": nn.Parameter(torch.randn(6, 4)), "bias": nn.Parameter(torch.randn(4))}


def _step(optimizer, parameters):
    (parameters["matrix"] @ parameters["bias"]).pow(2).sum().backward()
    return optimizer.step(1e-2)


def test_a_loaded_state_goes_on_as_the_saved_one_did():
    first, second = _pair(0), _pair(1)
    one, two = (MasterMuon(p, frozenset({"matrix"})) for p in (first, second))
    for _ in range(3):
        _step(one, first)
    two.load(one.state())
    assert _step(one, first) == _step(two, second)
    for name in first:
        assert torch.equal(first[name], second[name])


def test_a_state_of_other_matrices_and_a_broken_gradient_are_refused():
    parameters = _pair(0)
    optimizer = MasterMuon(parameters, frozenset({"matrix"}))
    with pytest.raises(KeyError, match="different matrices"):
        optimizer.load({"matrices": {}, "rest": {}})
    parameters["matrix"].grad = torch.full((6, 4), float("nan"))
    with pytest.raises(FloatingPointError, match="gradient norm"):
        optimizer.step(1e-2)
