"""What a picture is known by: its pixels and every setting of the processor that read it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mmspec.core.request import Media, Prompt
from mmspec.model.cache import chunk_keys
from mmspec.model.load import locate
from mmspec.model.processor import Processor

MESSAGES = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
PICTURE = Image.fromarray(NOISE)


def read(folder, picture=PICTURE):
    processor = Processor.load(folder, name="nano", vocabulary=5000, stop_tokens=frozenset())
    return processor.chat(MESSAGES, [picture])


@pytest.fixture(scope="module")
def known():
    return read(locate("nano"))


def changed(folder, **settings):
    """The nano processor with other settings; those of its image processor by ``image_`` names."""
    shutil.copytree(locate("nano"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    path = folder / "processor_config.json"
    told = json.loads(path.read_text())
    told["image_processor"].update(settings.pop("image_processor", {}))
    path.write_text(json.dumps(told | settings))
    return str(folder)


def never_taken_for(one, other):
    """Neither the picture nor any chunk of the prompt that it stands in."""
    assert one.media[0].digest != other.media[0].digest
    for chunk in (8, 16):
        first = one.media[0].start // chunk  # chunks before the picture are the same
        assert not set(chunk_keys(one, chunk)[first:]) & set(chunk_keys(other, chunk)[first:])


@pytest.mark.parametrize(
    "settings",
    [
        {"image_processor": {"image_mean": [0.5, 0.5, 0.25]}},
        {"image_processor": {"resample": 2}},
        {"image_processor": {"rescale_factor": 1 / 127.5}},
        # As many placeholders as before, for other features.
        {"vision_feature_select_strategy": "full", "num_additional_image_tokens": 0},
    ],
    ids=["mean", "resample", "rescale", "features"],
)
def test_the_same_picture_under_other_settings_is_another(tmp_path, known, settings):
    other = read(changed(tmp_path / "model", **settings))
    np.testing.assert_array_equal(known.ids, other.ids)
    never_taken_for(known, other)


def test_another_picture_is_another_and_the_same_the_same(known):
    folder = locate("nano")
    brighter = NOISE.copy()
    brighter[0, 0, 0] ^= 1
    never_taken_for(known, read(folder, Image.fromarray(brighter)))
    turned = Image.fromarray(NOISE.reshape(60, 40, 3))  # the same bytes in another shape
    never_taken_for(known, read(folder, turned))
    again = read(folder, PICTURE.copy())
    assert again.media[0].digest == known.media[0].digest
    assert chunk_keys(again, 16) == chunk_keys(known, 16)


@pytest.mark.parametrize(
    "others",
    [
        (Media("a", 2, 3, {}),),  # shorter
        (Media("a", 1, 4, {}),),  # elsewhere
        (Media("a@2", 2, 4, {}),),
        (Media("a", 2, 2, {}), Media("a", 4, 2, {})),
    ],
)
def test_a_chunk_knows_where_each_picture_begins_and_ends(others):
    ids = np.full(8, 9, np.int64)
    one = Prompt(ids, (Media("a", 2, 4, {}),))
    assert not set(chunk_keys(one, 8)) & set(chunk_keys(Prompt(ids, others), 8))


def test_pictures_that_spell_one_another_are_told_apart():
    ids = np.full(8, 9, np.int64)
    two = Prompt(ids, (Media("a", 1, 1, {}), Media("b", 2, 1, {})))
    one = Prompt(ids, (Media("a@1b", 2, 1, {}),))
    assert chunk_keys(two, 8) != chunk_keys(one, 8)
