"""The same promises on a GPU, through the Triton kernels."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from drafting import Random
from running import engine, run

from mmspec.model.target import Target

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


@pytest.mark.parametrize("name", ["llama", "mistral", "llava", "qwen2_5_vl"])
def test_greedy_text_is_the_cpus_own(name):
    prompts = {str(i): prompt for i, prompt in enumerate(tiny.prompts(name))}
    here = run(engine(tiny.target(name, "near-tie")), prompts)
    there = Target(copy.deepcopy(tiny.reference(name)).to("cuda"), numerics="near-tie")
    assert run(engine(there), prompts) == here
    assert run(engine(there, {"text.random": Random(tiny.VOCABULARY)}), prompts) == here
