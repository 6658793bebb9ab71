"""Each tiny model is loaded once for all tests of the methods."""

import pytest
from evals.methods import folders


@pytest.fixture(scope="session")
def text():
    return folders.models("text")


@pytest.fixture(scope="session")
def seeing():
    return folders.models("seeing")


@pytest.fixture(scope="session")
def seen(seeing):
    """A case with two pictures."""
    messages = [
        {"role": "user", "content": [
            {"type": "image"}, {"type": "image"}, {"type": "text", "text": "What is there?"},
        ]}
    ]  # fmt: skip
    pictures = [folders.picture("red"), folders.picture("blue")]
    prompt = seeing.processor.chat(messages, pictures)
    plain = folders.case()
    return type(plain)(prompt, plain.sampling, None, None, 0)
