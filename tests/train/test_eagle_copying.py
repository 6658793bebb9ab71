"""A drafter that starts by copying: before any training it goes on as the text went before."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mmspec.text.eagle_network import EagleNetwork
from mmspec.train.capture import FrozenTarget
from mmspec.train.eagle_copying import start_copying
from mmspec.train.eagle_shape import Shape, eagle_config, first_weights, matrices
from mmspec.train.guards import GuardError

HALF = 24  # tokens that are said twice


def made(window, start=True):
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300, hidden_size=64, intermediate_size=64, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, head_dim=64, tie_word_embeddings=True,
        )
    )  # fmt: skip
    target = FrozenTarget(model, (0, 1))
    shape = Shape(layers=(0, 1), window=window, rope_base=1e9, start="copying")
    network = EagleNetwork(eagle_config(model.config, shape))
    network.lend(target.embed, target.logits, target.norm)
    first_weights(network, target, None)
    if start:
        start_copying(network, target)
    return network


@torch.no_grad()
def right(network, seed):
    """Share of the second half's tokens that are guessed, dense and teacher-forced."""
    once = torch.randperm(300, generator=torch.Generator().manual_seed(seed))[:HALF]
    text = torch.cat([once, once])
    places = torch.arange(len(text) - 1)
    back = torch.minimum(torch.arange(network.window), places[:, None] + 1)
    windows = text[places[:, None] + 1 - back][None]
    features = [torch.randn(1, len(places), 64) for _ in network.config.layers]
    said = network.logits(network(windows, network.fuse(features), places[None])).argmax(-1)[0]
    return float((said[HALF - 1 : -1] == text[HALF + 1 :]).float().mean())


@pytest.mark.parametrize("window", [2, 3, 4])
def test_it_copies_without_training(window):
    copier, other = made(window), made(window, start=False)
    assert sum(right(copier, seed) for seed in range(5)) / 5 > 0.9
    assert sum(right(other, seed) for seed in range(5)) / 5 < 0.2


def test_a_window_of_one_cannot_copy():
    with pytest.raises(GuardError, match="window of 2"):
        made(1)


def test_muon_takes_the_matrices_and_leaves_the_matching():
    trained = {name: value for name, value in made(2).named_parameters() if value.requires_grad}
    chosen = matrices(trained, ("q_proj", "k_proj"))
    assert chosen == {f"{part}.weight" for part in
                      ("fc", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")}  # fmt: skip
