"""The same promises on a GPU, through the Triton kernels."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import tiny
import torch
from drafting import Random
from PIL import Image
from running import engine, run

from mmspec import LLM, Sampling, Speculation
from mmspec.core.config import Config, EngineConfig, ModelConfig
from mmspec.model.target import Target
from mmspec.train.data import documents
from mmspec.train.data.seeds import example_seed

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


PAGES = {"pages": 4, "looks": [1]}
DRAFTERS = {
    "text": {
        "eagle": {"path": "nano-eagle", **PAGES},
        "draft_model": {"path": "nano-lm", **PAGES},
    },
    "vision": {"vispec": {"path": "nano-vispec"}},
    "longctx": {
        "longspec": {"path": "nano-longspec", **PAGES},
        "self_window": {"pages": 8},
        "rapid": {"path": "nano-lm", "longer_than": 500, "at_least": 256, "at_most": 512},
    },
    "retrieval": {"suffix": {}},
}


@pytest.fixture(scope="module")
def nano():
    """The bundled model in float32, and everyone that drafts for it, on the card."""
    model = ModelConfig(path="nano", device="cuda", dtype="float32", numerics="near-tie")
    config = EngineConfig(max_sequences=2, judge_rounds=0, enough=float("inf"))
    return LLM(config=Config(model=model, engine=config, drafters=DRAFTERS))


@pytest.mark.parametrize("address", [f"{w}.{n}" for w, names in DRAFTERS.items() for n in names])
def test_trained_drafters_guess_on_a_gpu_and_leave_the_text_alone(nano, address):
    document, asked = documents.chapter(example_seed("held_out", 4), 1500)
    content = f"{document.text}\n\n{asked.question}"
    if address == "vision.vispec":
        scene = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))
        words = {"type": "text", "text": "Describe the picture."}
        content = [{"type": "image", "image": scene}, words]
    told = [{"role": "user", "content": content}]
    for temperature in (0.0, 1.0):
        sampling = Sampling(temperature=temperature, seed=3, max_tokens=96)
        plain = nano.chat(told, sampling, Speculation(enabled=False))
        nano.engine.reset()
        answer = nano.chat(told, sampling, Speculation(drafters=(address,)))
        assert answer.token_ids == plain.token_ids
        assert temperature or answer.speculation.tau > 1.1
