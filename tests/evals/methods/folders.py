"""Tiny random models as folders on disk, with the bundled tokenizer, so that loading is real."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from mmspec_evals.method import Case
from mmspec_evals.methods.models import Models
from PIL import Image, ImageDraw

from mmspec.core.config import Config, EngineConfig, ModelConfig
from mmspec.core.request import Prompt, Sampling
from mmspec.model.load import locate

NANO = Path(locate("nano"))
VOCABULARY, WORDS, IMAGE = 4096, 60, 6
_BODY = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": False,
}  # fmt: skip
_EYES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 96, "patch_size": 16, "projection_dim": 16,
}  # fmt: skip


@functools.cache
def _root() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory()


@functools.cache
def folder(name: str) -> str:
    """One of "text", "draft" (smaller, same words), "other" (other words) and "seeing"."""
    torch.manual_seed(sum(name.encode()))
    if name == "seeing":
        model = hf.LlavaForConditionalGeneration(
            hf.LlavaConfig(
                text_config=hf.LlamaConfig(**_BODY), vision_config=hf.CLIPVisionConfig(**_EYES),
                image_token_id=IMAGE, tie_word_embeddings=False, image_seq_length=36,
            )
        )  # fmt: skip
    else:
        own = {"draft": {"num_hidden_layers": 2}, "other": {"vocab_size": 500}}.get(name, {})
        model = hf.LlamaForCausalLM(hf.LlamaConfig(**{**_BODY, **own}))
    with torch.no_grad():
        for path, weight in model.named_parameters():
            if weight.dim() >= 2:  # text that varies
                weight.normal_(0, 0.5 if "embed" in path else 1.2 / weight[0].numel() ** 0.5)
        # Few words, so that texts repeat themselves; nobody says a placeholder.
        model.lm_head.weight[WORDS:] = model.lm_head.weight[IMAGE] = 0
    path = Path(_root().name) / name
    model.float().save_pretrained(path)
    for file in ("tokenizer.json", "chat_template.jinja"):
        shutil.copy(NANO / file, path / file)
    settings = json.loads((NANO / "tokenizer_config.json").read_text())
    if name == "seeing":
        shutil.copy(NANO / "processor_config.json", path)
    else:
        del settings["processor_class"]
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return str(path)


def models(name: str, **options) -> Models:
    """A run's models: fp32, the engine small."""
    engine = {"chunk": 32, "cache_bytes": 64 << 20, **options}
    model = ModelConfig(path=folder(name), dtype="float32")
    return Models(Config(model=model, engine=EngineConfig(**engine)))


def case(length: int = 40, *, draw: int = 0, **sampling) -> Case:
    """Random words; the second half says the first again, for drafters that quote."""
    half = np.random.default_rng(draw).integers(10, WORDS, length // 2)
    asked = Sampling(**{"temperature": 0.0, "max_tokens": 24, **sampling})
    return Case(Prompt(np.concatenate([half, half])), asked, None, None, 0)


def picture(color: str = "red", size: int = 96) -> Image.Image:
    """A disc on white."""
    image = Image.new("RGB", (size, size), "white")
    ImageDraw.Draw(image).ellipse((20, 20, 60, 60), fill=color)
    return image
