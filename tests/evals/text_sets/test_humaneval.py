"""Whether a completed function is Python; nothing is run."""

from __future__ import annotations

import pytest
from evals.text_sets.wanting import want, write_lines
from mmspec_evals import registry
from mmspec_evals.running.scoring import cut

PROMPT = 'def twice(x):\n    """Two times x."""\n'


@pytest.fixture
def loaded(tmp_path):
    row = {"task_id": "HumanEval/0", "prompt": PROMPT, "entry_point": "twice", "test": "assert 0"}
    [task] = registry.find(["humaneval"])
    [doc] = task.load(want(write_lines(tmp_path / "HumanEval.jsonl", [row]))).docs
    return task, doc


@pytest.mark.parametrize(
    ("said", "parses"),
    [
        ("    return 2 * x\n", 1),
        ("    raise SystemExit(1)\n", 1),  # it would end the test if it were run
        ("    return (2 * x\n", 0),
        ("  return 2 * x\n", 0),
        ("return 2 * x", 0),
        ("    Return 2 x\n", 0),
        ("", 0),
        ("  \n", 0),
        ("    # only a note\n", 1),
        ("    return '\\d'\n", 1),
        ("    return 2 * x\n\ndef thrice(x):\n    return (", 1),  # cut at the next function
        ("    return 2 * x\n```\nThis doubles it.", 1),
        ("    return \0\n", 0),
        ("    return " + "(" * 500 + "\n", 0),
    ],
)
def test_parses(loaded, said, parses):
    task, doc = loaded
    assert task.score((cut(said, task.stop),), doc) == {"parses": parses}


def test_document(loaded):
    task, doc = loaded
    assert task.style == "completion"
    assert doc.id == "HumanEval-0"
    assert doc.turns[0][0].text == PROMPT
