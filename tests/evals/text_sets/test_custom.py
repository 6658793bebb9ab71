"""The user's own rows in all their shapes."""

from __future__ import annotations

import base64

import pytest
from evals.text_sets.wanting import want, write_lines
from mmspec_evals import registry
from mmspec_evals.data.attached import picture
from mmspec_evals.data.free import document
from mmspec_evals.doc import Doc, Picture, Text
from mmspec_evals.errors import DataError
from mmspec_evals.tasks.custom import score

PIXELS = b"\x89PNG not really"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(PIXELS)
    (tmp_path / "in" / "b.png").write_bytes(PIXELS + b"b")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return tmp_path / "in"


def shown(doc):
    """Turns with pictures by name."""
    return [
        [part.text if isinstance(part, Text) else f"<{part.name}>" for part in turn]
        for turn in doc.turns
    ]


def conversation(*said):
    return [{"from": role, "value": value} for role, value in said]


def chat(*said):
    return [{"role": role, "content": content} for role, content in said]


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"prompt": "Hi"}, [["Hi"]]),
        ({"turns": ["Hi", "Bye"]}, [["Hi"], ["Bye"]]),
        (
            {"messages": chat(("user", "Hi"), ("assistant", "x"), ("user", "Bye"))},
            [["Hi"], ["Bye"]],
        ),
        ({"messages": chat(("user", "Hi"), ("user", "Bye"))}, [["Hi", "\n\n", "Bye"]]),
        ({"conversations": conversation(("human", "Hi"), ("gpt", "x"), ("human", "y"))}, [["Hi"]]),
        ({"conversations": conversation(("gpt", "x"), ("human", "Hi"))}, [["Hi"]]),
        ({"prompt": "Hi", "image_files": ["a.png", "b.png"]}, [["<a.png>", "<b.png>", "Hi"]]),
        ({"prompt": "Hi", "image": "a.png"}, [["<a.png>", "Hi"]]),
        (
            {"prompt": "See <image> and <image>.", "images": ["b.png", "a.png"]},
            [["See ", "<b.png>", " and ", "<a.png>", "."]],
        ),
        ({"prompt": "<image>", "images": ["b.png", "a.png"]}, [["<b.png>", "<a.png>", "<image>"]]),
        ({"turns": ["Hi", "Bye"], "images": ["a.png"]}, [["<a.png>", "Hi"], ["Bye"]]),
        (
            {
                "messages": chat(
                    (
                        "user",
                        [
                            {"type": "text", "text": "Hi"},
                            {"type": "image_url", "image_url": {"url": "a.png"}},
                            {"type": "image", "image": "b.png"},
                        ],
                    )
                )
            },
            [["Hi", "<a.png>", "<b.png>"]],
        ),
    ],
)
def test_shapes(folder, row, turns):
    assert shown(document("0", row, folder)) == turns


def test_settings_of_a_row(folder):
    row = {
        "messages": chat(("system", "Be brief."), ("user", "Hi")),
        "answer": "Ho",
        "max_tokens": 7,
        "style": "completion",
        "category": "greeting",
        "cluster": 3,
    }
    doc = document("0", row, folder)
    assert doc.system == "Be brief."
    assert doc.target == "Ho"
    assert doc.cluster == "3"
    assert doc.fields == {"max_new_tokens": 7, "style": "completion", "category": "greeting"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "turns or a prompt"),
        ({"messages": []}, "no turn"),
        ({"messages": chat(("assistant", "x"))}, "no turn"),
        ({"messages": ["Hi"]}, "message is an object"),
        ({"messages": [{"role": "user"}]}, "role and content"),
        ({"messages": chat(("user", [{"type": "audio"}]))}, "text or a picture"),
        ({"messages": chat(("user", 3))}, "text or a picture"),
        ({"prompt": "Hi", "max_tokens": 0}, "whole number"),
        ({"prompt": "Hi", "max_tokens": "many"}, "whole number"),
        ({"prompt": "Hi", "style": "poem"}, "style"),
        ({"prompt": "Hi", "images": ["c.png"]}, "is not in"),
        ({"prompt": "Hi", "images": [3]}, "a path, a data URL or bytes"),
    ],
)
def test_rows_that_say_nothing(folder, row, words):
    with pytest.raises(DataError, match=words):
        document("0", row, folder)


def test_pictures_in_every_form(folder):
    url = "data:image/png;base64," + base64.b64encode(PIXELS).decode()
    for value in ("a.png", {"path": "a.png"}, {"url": url}, url, {"bytes": PIXELS, "path": None}):
        assert picture(value, folder).read() == PIXELS
    assert picture(str(folder / "a.png"), folder).read() == PIXELS


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("../secret.png", "outside"),
        ("../in/../secret.png", "outside"),
        ("link.png", "outside"),
        ("/etc/hostname", "outside"),
        ("file:///etc/hostname", "outside"),
        ("https://example.com/a.png", "from files"),
        ("data:image/png;base64,@@", "damaged"),
        ("", "a path"),
        ({}, "a path"),
        (".", "is not in"),
    ],
)
def test_pictures_stay_in_their_folder(folder, value, words):
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    with pytest.raises(DataError, match=words):
        picture(value, folder)


def test_file_with_a_picture_beside_it(folder):
    rows = [{"prompt": "Hi", "images": ["a.png"]}, {"prompt": "Ho", "images": ["a.png"]}]
    path = write_lines(folder / "mine.jsonl", [*rows, {"prompt": "Hi"}, {"prompt": "Hi"}])
    [task] = registry.find(["custom"])
    corpus = task.load(want(path))
    assert (corpus.kind, corpus.rows) == ("custom", 4)
    assert [doc.id for doc in corpus.docs] == ["0", "1", "2", "3"]
    first, second, third, fourth = (doc.cluster for doc in corpus.docs)
    assert first == second  # one picture
    assert third == fourth  # the same words
    assert first != third
    [shot] = [part for part in corpus.docs[0].turns[0] if isinstance(part, Picture)]
    assert shot.read() == PIXELS


def test_a_bad_row_is_named(folder):
    path = write_lines(folder / "mine.jsonl", [{"prompt": "Hi"}, {"text": "Hi"}])
    [task] = registry.find(["custom"])
    with pytest.raises(DataError, match=r"mine\.jsonl, row 2: "):
        task.load(want(path))


@pytest.mark.parametrize(
    ("said", "target", "marks"),
    [
        ("The  cat ", "the cat", (1, 1)),
        ("cat", "the cat", (0, 1)),
        ("red cat", ["dog", "cat"], (0, 2 / 3)),
        ("cat", ["dog", "cat"], (1, 1)),
        ("", "cat", (0, 0)),
        ("cat", "", (0, 0)),
        ("7", 7, (1, 1)),
        ("STRASSE", "straße", (1, 0)),
        ("cat!", "cat", (0, 1)),
        ("dog", ["a", "b"], (0, 0)),
    ],
)
def test_marks(said, target, marks):
    doc = Doc(id="0", turns=(), target=target, cluster="c")
    exact, f1 = marks
    assert score((said,), doc) == {"exact": exact, "f1": pytest.approx(f1)}


@pytest.mark.parametrize("target", [None, [], [None]])
def test_no_reference_no_mark(target):
    assert score(("cat",), Doc(id="0", turns=(), target=target, cluster="c")) == {}
