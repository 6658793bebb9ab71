"""Our own tasks: right answers score 1, others do not, and a seed makes the same documents."""

from __future__ import annotations

import io

import pytest
from mmspec_evals.doc import Picture, Text
from mmspec_evals.registry import find
from mmspec_evals.task import Want
from PIL import Image

NAMES = ["nano_vqa", "nano_describe", "nano_pair", "nano_program", "nano_docqa", "nano_code"]


def want(seed=0, limit=6, tokens=()):
    return Want(None, limit, seed, tokens, lambda text: len(text) // 4)


def right(doc):
    """The reference, as a model that knows it would say it."""
    if isinstance(doc.target, str):
        return (doc.target,)
    return tuple(pair["answer"] for pair in doc.target)


@pytest.mark.parametrize("task", find(NAMES), ids=lambda task: task.name)
def test_the_reference_scores_one_and_silence_less(task):
    corpus = task.load(want())
    assert corpus.kind == "synthetic"
    assert len(corpus.docs) == 6 == len({doc.id for doc in corpus.docs})
    headline = task.metrics[0].name
    for doc in corpus.docs:
        assert task.score(right(doc), doc)[headline] == 1.0
        assert task.score(("",) * len(doc.turns), doc)[headline] < 1.0


@pytest.mark.parametrize("task", find(NAMES), ids=lambda task: task.name)
def test_a_seed_makes_the_same_documents_again(task):
    one, two, other = (task.load(want(seed)) for seed in (0, 0, 1))
    assert one.sha256 == two.sha256 != other.sha256
    assert {doc.id for doc in one.docs}.isdisjoint(doc.id for doc in other.docs)


def test_pictures_are_what_the_generator_drew():
    (task,) = find(["nano_vqa"])
    pictures = [p for doc in task.load(want()).docs for p in doc.turns[0] if isinstance(p, Picture)]
    assert len(pictures) == 6
    shown = [Image.open(io.BytesIO(picture.read())) for picture in pictures]
    assert all(len(image.convert("RGB").getcolors(1 << 20)) > 1 for image in shown)


def test_a_description_counts_fact_by_fact():
    (task,) = find(["nano_describe"])
    doc = task.load(want()).docs[0]
    place, (size, colour, shape) = next(iter(doc.fields["things"].items()))
    wrong = "red" if colour != "red" else "blue"
    told = task.score((f"At the {place} there is a {size} {wrong} {shape}.",), doc)
    assert told["facts"] == pytest.approx(2 / (3 * len(doc.fields["things"])))
    assert told["exact"] == 0.0


def test_documents_have_the_wished_lengths_and_may_be_trimmed():
    (task,) = find(["nano_docqa/long"])
    docs = task.load(want(tokens=(400, 1600))).docs
    sizes = [len(doc.turns[0][0].text) for doc in docs]
    assert sizes[1] > 3 * sizes[0]
    assert [doc.fields["tokens"] for doc in docs[:2]] == [400, 1600]
    for doc in docs:
        head, question = doc.turns[0]
        assert head.trim
        assert isinstance(question, Text)
        assert not question.trim
        assert len(doc.turns) == (4 if doc.fields["tokens"] == 1600 else min(4, len(doc.target)))
        assert all(pair["answer"] in head.text for pair in doc.target)


def test_half_of_the_quotes_right_is_half():
    (task,) = find(["nano_docqa/long"])
    doc = task.load(want()).docs[0]
    first, second, *_ = right(doc)
    assert task.score((first, second, "no", ""), doc) == {"accuracy": 0.5}


def test_the_value_decides_a_fact_that_is_quoted_badly():
    (task,) = find(["nano_docqa/fact"])
    doc = task.load(want()).docs[0]
    said = f"It is there. The answer is {doc.target[0]['value']}."
    assert task.score((said,), doc) == {"accuracy": 0.0, "value": 1.0}


def test_two_pictures_are_shown_in_order_and_programs_are_python():
    (pairs,), programs = find(["nano_pair"]), find(["nano_program"])
    for doc in pairs.load(want()).docs:
        first, second, asked = doc.turns[0]
        assert first.read() != second.read()
        assert "first" in asked.text or "second" in asked.text
    for task in programs:
        for doc in task.load(want()).docs:
            code = doc.target.removeprefix("```python\n").removesuffix("\n```")
            compile(code, doc.id, "exec")
            assert (len(doc.turns[0]) == 2) == (task.name == "nano_program/change")


def test_code_is_compared_with_as_much_as_was_said():
    (task,) = find(["nano_code"])
    doc = task.load(want(limit=2)).docs[0]
    assert task.score((doc.target[:40],), doc) == {"edit_similarity": 1.0}
    assert task.score(("\0" * 40,), doc) == {"edit_similarity": 0.0}
