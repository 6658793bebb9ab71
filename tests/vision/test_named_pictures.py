"""Pictures a conversation only names: which are to be fetched, and what Python is told."""

from __future__ import annotations

import numpy as np
import pytest

from mmspec.core.errors import BadRequestError
from mmspec.core.request import Prompt
from mmspec.vision.media import MediaLimits
from mmspec.vision.prompt import compose, remote_pictures


class Recorder:
    accepts_images = True

    def chat(self, messages, images, add_generation_prompt=True):
        return Prompt(np.arange(3))


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def test_what_is_to_be_fetched():
    messages = [
        {"role": "system", "content": "see https://a.org/not.png"},
        *user(
            {"type": "text", "text": "https://a.org/neither.png"},
            {"type": "image_url", "image_url": {"url": "https://a.org/1.png"}},
            {"type": "image_url", "image_url": "HTTP://a.org/2.png"},
            {"type": "input_image", "image_url": "https://a.org/1.png"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}},
            {"type": "image_url", "image_url": {"file_id": "file-1"}},
            {"type": "image_url", "image_url": {"url": "ftp://a.org/3.png"}},
            {"type": ["image_url"], "image_url": "https://a.org/4.png"},
            "https://a.org/5.png",
        ),
        "https://a.org/6.png",
    ]
    assert remote_pictures(messages) == {
        "https://a.org/1.png": "messages.1.content.1.image_url.url",
        "HTTP://a.org/2.png": "messages.1.content.2.image_url",
    }
    assert len(remote_pictures(messages, MediaLimits(max_images=1))) == 1


def test_python_has_no_uploads():
    for part, code in (
        ({"type": "file", "file": {"file_id": "file-1"}}, "unsupported_parameter"),
        ({"type": "image_url", "image_url": {"url": "https://a.org/1.png"}}, "invalid_image_url"),
    ):
        with pytest.raises(BadRequestError) as caught:
            compose(user(part), Recorder())
        assert caught.value.code == code
