"""The copying layers copy before any training, and refuse a layout they were not made for."""

import pytest
import torch

from mmspec.train.copying_circuit import balance, install
from mmspec.train.nano_model import Shape, build


def test_a_fresh_model_copies(tokenizer):
    torch.manual_seed(0)
    model = build(Shape(vocabulary=512, layers=1), tokenizer).float()
    balance(model)
    made = install(model).eval()
    assert made.config.text_config.num_hidden_layers == 3
    once = torch.randint(7, 512, (2, 20))
    ids = torch.cat([torch.ones(2, 1, dtype=torch.long), once, once], 1)
    with torch.no_grad():
        logits = made(input_ids=ids).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    assert loss[:, 21:].mean() < loss[:, :20].mean() - 2.0


def test_another_layout_is_refused(model):
    with pytest.raises(ValueError, match="laid out"):
        install(model)
