"""Conversations are checked, pictures decoded, and only then is anything templated."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mmspec.core.errors import BadRequestError
from mmspec.core.request import Prompt
from mmspec.vision.media import MediaLimits
from mmspec.vision.prompt import compose


class Recorder:
    accepts_images = True

    def chat(self, messages, images, add_generation_prompt=True):
        self.heard = (messages, images, add_generation_prompt)
        return Prompt(np.arange(3))


class Blind(Recorder):
    accepts_images = False


def png(size=(4, 4)):
    sink = io.BytesIO()
    Image.new("RGB", size, "red").save(sink, "PNG")
    return sink.getvalue()


URI = "data:image/png;base64," + base64.b64encode(png()).decode()


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def test_every_spelling_of_a_picture(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(png())
    spellings = [
        {"type": "image_url", "image_url": {"url": URI, "detail": "high"}},
        {"type": "image_url", "image_url": URI},
        {"type": "input_image", "image_url": URI},
        {"type": "image", "image": Image.new("LA", (4, 4))},
        {"type": "image", "image": png()},
        {"type": "image", "image": path},
        {"type": "image", "image": URI},
    ]
    processor = Recorder()
    compose(user({"type": "text", "text": "see"}, *spellings), processor)
    (message,), images, opened = processor.heard
    assert message["content"] == [{"type": "text", "text": "see"}] + [{"type": "image"}] * 7
    assert [(image.mode, image.size) for image in images] == [("RGB", (4, 4))] * 7
    assert opened


def test_a_string_is_never_a_path(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(png())
    for source in (str(path), f"file://{path}", {"url": str(path)}, 5, None, ["x"]):
        with pytest.raises(BadRequestError) as caught:
            compose(user({"type": "image", "image": source}), Recorder())
        assert caught.value.code == "invalid_image_url"


def test_roles():
    processor = Recorder()
    compose(
        [{"role": "developer", "content": "be brief"}, {"role": "assistant", "content": "yes"}],
        processor,
        add_generation_prompt=False,
    )
    assert [message["role"] for message in processor.heard[0]] == ["system", "assistant"]
    assert not processor.heard[2]


def test_bounds():
    picture = {"type": "image", "image": png((20, 20))}
    with pytest.raises(BadRequestError, match="text only"):
        compose(user(picture), Blind())
    with pytest.raises(BadRequestError, match="up to 2 images"):
        compose(user(picture, picture, picture), Recorder(), MediaLimits(max_images=2))
    with pytest.raises(BadRequestError) as caught:
        compose(user(picture, picture), Recorder(), MediaLimits(max_decoded_bytes=1200))
    assert caught.value.code == "image_too_large"
    with pytest.raises(BadRequestError) as caught:
        compose(user({"type": "text", "text": "x" * 81}), Recorder(), max_context=10)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(BadRequestError, match="parts"):
        compose(user(*[{"type": "text", "text": ""}] * 4097), Recorder())
    with pytest.raises(BadRequestError, match="messages"):
        compose([{"role": "user", "content": ""}] * 2049, Recorder())
