"""Predicted outputs through the official client."""

from __future__ import annotations

import openai
import pytest
from serve.fake import CONTEXT, TEXT, VOCABULARY

MODEL = "fake/model"
GOES_ON = [{"role": "user", "content": "say it"}]
CHANGED = TEXT.replace("quick", "swift")


def predicted(content):
    return {"type": "content", "content": content}


def counts(usage):
    told = usage.completion_tokens_details
    return told.accepted_prediction_tokens, told.rejected_prediction_tokens


def ask(client, content, **options):
    options = {"max_tokens": len(TEXT.encode()), **options}
    return client.chat.completions.create(
        model=MODEL, messages=GOES_ON, prediction=predicted(content), **options
    )


SIZE = len(TEXT.encode())
# "quick" is foretold as "swift": five bytes do not come, and the one behind them comes after
# another than foretold; the "i" in the middle comes after another one, too.
WRONG = 6


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TEXT, (SIZE, 0)),
        ([{"type": "text", "text": TEXT[:10]}, {"type": "text", "text": TEXT[10:]}], (SIZE, 0)),
        (CHANGED, (SIZE - WRONG, WRONG)),
        (TEXT + "and more", (SIZE, 8)),
        ("###", (0, 3)),
        ("", (0, 0)),
        ([], (0, 0)),
    ],
)
def test_usage_says_what_came_true(client, content, expected):
    answer = ask(client, content)
    assert answer.choices[0].message.content == TEXT
    assert counts(answer.usage) == expected
    assert answer.usage.completion_tokens == SIZE  # what was foretold in vain is in no other count


def test_a_stream_says_so_too(client):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(ask(client, CHANGED, stream=True, stream_options=options))
    told = [counts(chunk.usage) for chunk in chunks]
    assert told[-1] == (SIZE - WRONG, WRONG)
    assert told == sorted(told)
    assert len(set(told)) > 5
    assert {sum(pair) for pair in told} == {SIZE}


def test_what_a_stop_string_cut_off_is_not_counted(client):
    answer = ask(client, TEXT, stop=[TEXT[10:14]])
    accepted, rejected = counts(answer.usage)
    assert accepted == answer.usage.completion_tokens
    assert accepted + rejected == SIZE


def test_the_engine_gets_the_tokens_of_the_text_alone(door, client, monkeypatch):
    seen = []
    submit = door.engine.submit
    monkeypatch.setattr(door.engine, "submit", lambda one: (seen.append(one), submit(one)))
    ask(client, "a<eos><image>b")
    client.chat.completions.create(model=MODEL, messages=GOES_ON, max_tokens=4)
    client.completions.create(
        model=MODEL, prompt="say", max_tokens=4, extra_body={"prediction": predicted("xy")}
    )
    ids = [one.prediction.tolist() for one in seen]
    assert ids == [list(b"a<eos><image>b"), [], list(b"xy")]
    assert max(ids[0]) < VOCABULARY - 2


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"n": 2}, "prediction"),
        ({"prediction": "text"}, "prediction"),
        ({"prediction": {"type": "content"}}, "prediction.content"),
        ({"prediction": {"type": "image", "content": "a"}}, "prediction.type"),
        ({"prediction": predicted(3)}, "prediction.content"),
        ({"prediction": predicted([{"type": "image_url"}])}, "prediction.content.0.type"),
        ({"prediction": predicted([{"type": "x", "text": "a"}])}, "prediction.content.0.type"),
        ({"prediction": predicted("a" * (CONTEXT + 1))}, "prediction"),
        ({"prediction": predicted("a" * (8 * CONTEXT + 1))}, "prediction"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ],
)
def test_what_cannot_be_is_refused_by_name(client, changes, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{
            "model": MODEL, "messages": GOES_ON, "prediction": predicted("a"), **changes,
        })  # fmt: skip
    assert caught.value.param == param


def test_several_prompts_have_no_prediction(client):
    with pytest.raises(openai.BadRequestError, match="one choice"):
        client.completions.create(
            model=MODEL, prompt=["a", "b"], extra_body={"prediction": predicted("c")}
        )


def test_null_is_no_prediction(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=GOES_ON, max_tokens=4, n=2, extra_body={"prediction": None}
    )
    assert counts(answer.usage) == (0, 0)
