"""The bundled model loads with the plain Auto classes, whole and strictly."""

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmspec.train.card import tables
from mmspec.train.data import pictures

ZOO = Path(str(resources.files("mmspec.zoo").joinpath("nano")))


@pytest.fixture(scope="module")
def loaded():
    model, told = AutoModelForImageTextToText.from_pretrained(ZOO, output_loading_info=True)
    return model.eval(), told, AutoProcessor.from_pretrained(ZOO)


def test_every_key_is_there_and_none_beside(loaded):
    model, told, _ = loaded
    assert not any(told.values())
    assert model.dtype == torch.bfloat16
    kept = load_file(ZOO / "model.safetensors")
    assert all(bool(value.isfinite().all()) for value in kept.values())


def test_it_is_small_and_says_how_good_it_is():
    assert sum(p.stat().st_size for p in ZOO.iterdir()) < 30e6
    assert (ZOO / "MODEL_CARD.md").exists()
    assert json.loads((ZOO / "probe.json").read_text())["picture_questions"]["all"] > 0.3


def test_it_names_a_large_object(loaded):
    model, _, processor = loaded
    image, facts = pictures.scene(7, 1)
    ask = [{"type": "text", "text": "What colour is the background?"}, {"type": "image"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": ask}], add_generation_prompt=True
    )
    inputs = processor(text=text, images=[image], return_tensors="pt").to(model.dtype)
    ids = model.generate(**inputs, max_new_tokens=12)
    told = processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :])
    assert told == facts.background.capitalize() + ".<|end|>"


def test_the_card_shows_what_the_probe_measured():
    measured = json.loads((ZOO / "probe.json").read_text())
    assert tables(measured) in (ZOO / "MODEL_CARD.md").read_text(encoding="utf-8")
