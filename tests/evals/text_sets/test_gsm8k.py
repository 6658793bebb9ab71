"""The number an answer ends in."""

from __future__ import annotations

from decimal import Decimal

import pytest
from evals.text_sets.wanting import want, write_lines
from mmspec_evals import registry
from mmspec_evals.doc import Doc
from mmspec_evals.errors import DataError
from mmspec_evals.tasks.gsm8k import last, marked, score


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 18", "18"),
        ("so 3\n#### 70,000", "70000"),
        ("#### -5", "-5"),
        ("#### $12.50", "12.50"),
        ("####7.", "7"),
        ("#### .5", "0.5"),
        ("#### 1 #### 2", "1"),
        ("#### x #### 2", "2"),
        ("### 18", None),
        ("18", None),
        ("", None),
    ],
)
def test_marked_numbers(text, number):
    assert marked(text) == (None if number is None else Decimal(number))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("From 3 to 5.50.", "5.5"),
        ("It is 1,234.", "1234"),
        ("5-3", "3"),
        ("it is -3", "-3"),
        ("a .5", "0.5"),
        ("$18", "18"),
        ("18 eggs", "18"),
        ("eggs", None),
        ("4, 5,", "5"),
        ("x2", "2"),
    ],
)
def test_last_numbers(text, number):
    assert last(text) == (None if number is None else Decimal(number))


@pytest.mark.parametrize(
    ("said", "exact", "lenient"),
    [
        ("Half of 36.\n#### 18", 1, 1),
        ("#### 18.00", 1, 1),
        ("It is 18.", 0, 1),
        ("#### 17 (not 18)", 0, 0),
        ("18 it is, of 36", 0, 0),
        ("", 0, 0),
    ],
)
def test_marks(said, exact, lenient):
    doc = Doc(id="0", turns=(), target="18", cluster="c")
    assert score((said,), doc) == {"exact": exact, "lenient": lenient}


def test_documents(tmp_path):
    rows = [{"question": "How {many}?", "answer": "9 + 9 = <<9+9=18>>18\n#### 18"}]
    [task] = registry.find(["gsm8k"])
    path = write_lines(tmp_path / "test.jsonl", rows)
    [doc] = task.load(want(path)).docs
    assert doc.target == "18"
    assert doc.turns[0][0].text.startswith("How {many}?\n\n")
    write_lines(tmp_path / "test.jsonl", [{"question": "q", "answer": "18"}])
    with pytest.raises(DataError, match="no number"):
        task.load(want(path))
