"""A tiny tokenizer, model and recipe shared by the training tests."""

import pytest
import torch

from mmspec.train import tokenizer as nano_tokenizer
from mmspec.train.nano_model import Shape, build

TINY = Shape(
    vocabulary=512, hidden=32, feed_forward=64, heads=2, kv_heads=1, layers=2, positions=512,
    vision_hidden=32, vision_feed_forward=64, vision_layers=1, vision_heads=2,
)  # fmt: skip


@pytest.fixture(scope="session")
def tokenizer():
    return nano_tokenizer.train(512, nano_tokenizer.corpus(4))


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    return build(TINY, tokenizer).float()


@pytest.fixture
def shape():
    """What `model` is built from."""
    return TINY
