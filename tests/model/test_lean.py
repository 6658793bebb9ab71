"""The compiled layers: used where they fit, equal where used, dropped where they disagree."""

from __future__ import annotations

import pytest
import tiny
import torch

from mmspec.model.lean import LeanDecoder

FITTING = ("llama", "qwen2", "qwen3", "mistral", "llava", "llava_next")


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_used_exactly_where_the_layers_have_the_common_shape(name):
    assert (tiny.target(name)._lean is not None) == (name in FITTING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dropped_with_a_word_when_the_trial_disagrees(dtype, monkeypatch, caplog):
    real = LeanDecoder.__call__

    def wrong(self, embeds, positions, step, watched=()):
        hidden, kept = real(self, embeds, positions, step, watched)
        return hidden * 1.2, kept

    monkeypatch.setattr(LeanDecoder, "__call__", wrong)
    assert tiny.target("llama", dtype=dtype)._lean is None
    assert "differ" in caplog.text
