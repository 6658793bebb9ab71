"""Rankers by name: words, meaning, chance, and what is known to be the answer."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

from mmspec.core.errors import ConfigError
from mmspec.engine.build import build_ranker
from mmspec.retrieval.lexical import Lexical
from mmspec.retrieval.oracle import Oracle

PASSAGES = [
    "The mill of Orne was built in 1672 by two brothers.",
    "In October the days are quiet, and the river is low.",
    "It was rebuilt by a widow, who sold it for nine crowns.",
]


def test_a_name_is_an_address(tmp_path):
    file = tmp_path / "known.json"
    file.write_text(json.dumps({"Who built the mill?": [PASSAGES[0]]}))
    assert isinstance(build_ranker("lexical"), Lexical)
    assert isinstance(build_ranker(f"oracle:{file}"), Oracle)
    for name in ("random", "random:7"):
        assert build_ranker(name).read(PASSAGES).scores("a").shape == (3,)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nobody", "no ranker 'nobody'"),
        ("passages", "no mmspec/retrieval/passages.py that ranks"),
        ("a.b", "no ranker"),
        ("", "no ranker"),
        ("lexical:x", "made from nothing"),
        ("dense", "dense:MODEL"),
        ("random:x", "whole number"),
        ("oracle:/nowhere.json", "/nowhere.json"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(name, says):
    with pytest.raises(ConfigError, match=says):
        build_ranker(name)


def test_an_oracle_of_another_form_is_refused(tmp_path):
    file = tmp_path / "known.json"
    file.write_text('{"a": "not a list"}')
    with pytest.raises(ConfigError, match="oracle"):
        build_ranker(f"oracle:{file}")


def test_without_its_extra_the_dense_ranker_is_refused_with_the_way_to_it(monkeypatch):
    find = importlib.import_module

    def absent(name):
        if name == "faiss":
            raise ImportError(name)
        return find(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=r"pip install 'mmspec\[faiss\]'"):
        build_ranker("dense:some/model")


def test_chance_repeats_itself_and_knows_nothing():
    seven = build_ranker("random:7").read(PASSAGES)
    told = seven.scores("Who?")
    assert told.dtype == np.float32
    assert np.array_equal(told, build_ranker("random:7").read(["", "a", "b"]).scores("Who?"))
    assert not np.array_equal(told, seven.scores("When?"))
    assert not np.array_equal(told, build_ranker("random:8").read(PASSAGES).scores("Who?"))
    many = np.array([build_ranker(f"random:{n}").read(PASSAGES).scores("Who?") for n in range(90)])
    assert np.all((many > 0) & (many <= 1))
    assert set(many.argmax(1).tolist()) == {0, 1, 2}


def test_an_oracle_finds_the_evidence_of_the_longest_question_it_knows():
    known = {
        "the mill": [PASSAGES[1]],
        "Who built the mill?": ["was built in 1672 by two brothers. It was rebuilt by a widow"],
        "Who sold it?": [PASSAGES[2], "nine crowns"],
    }
    ranking = Oracle(known).read(PASSAGES)
    told = ranking.scores("assistant: here is the text.\nWHO BUILT the mill ?\n")
    assert told.dtype == np.float32
    assert told[0] > told[2] > told[1] == 0  # cut in two, it is found in both
    assert ranking.scores("Who sold it?").tolist() == pytest.approx([0, 0, 1])
    assert ranking.scores("tell me about the mill").argmax() == 1
    assert not ranking.scores("the miller").any()
