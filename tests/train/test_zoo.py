"""The bundled model loads with the plain Auto classes, whole and strictly."""

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from mmspec.longctx.longspec_checkpoint import load_checkpoint as load_far
from mmspec.text.eagle_checkpoint import load_checkpoint
from mmspec.train.card import tables
from mmspec.train.data import pictures
from mmspec.train.regenerate import fingerprint, tokenizer_digest
from mmspec.vision.vispec_checkpoint import load_checkpoint as load_seeing

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


def test_the_family_is_small_and_every_member_has_a_card():
    members = [path for path in ZOO.parent.iterdir() if path.is_dir() and path.name[0] != "_"]
    assert {path.name for path in members} >= {
        "nano", "nano-lm", "nano-eagle", "nano-vispec", "nano-longspec",
    }  # fmt: skip
    sizes = [file.stat().st_size for path in members for file in path.iterdir()]
    assert sum(sizes) < 40e6
    assert all((path / "MODEL_CARD.md").exists() for path in members)


def test_the_draft_model_is_a_plain_model_of_the_same_tokenizer():
    folder = ZOO.parent / "nano-lm"
    model, told = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(told.values())
    assert model.dtype == torch.bfloat16
    assert (folder / "tokenizer.json").read_bytes() == (ZOO / "tokenizer.json").read_bytes()


def test_the_feature_drafter_loads_strictly_and_is_nanos_own():
    network, told = load_checkpoint(ZOO.parent / "nano-eagle")
    assert told.training["fingerprint"] == fingerprint("nano")
    assert told.tokenizer == tokenizer_digest("nano")
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())


@pytest.mark.parametrize(
    ("name", "load"), [("nano-vispec", load_seeing), ("nano-longspec", load_far)]
)
def test_a_trained_drafter_loads_strictly_and_is_nanos_own(name, load):
    folder = ZOO.parent / name
    network = load(folder)
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert told["training"]["fingerprint"] == fingerprint("nano")
    assert told["tokenizer"] == tokenizer_digest("nano")
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())
