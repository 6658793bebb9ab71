"""Our engine as a method: what it says of its text, its rounds and its seconds."""

from __future__ import annotations

import pytest
import torch
from evals.methods import folders
from evals.methods.checks import check_counts, check_seconds
from mmspec_evals.errors import PlanError
from mmspec_evals.method import UnsupportedError
from mmspec_evals.methods.build import build_methods


@pytest.fixture(scope="module")
def arms(text):
    names = ["vanilla", "mmspec", "mmspec:retrieval.suffix", "mmspec:nodes=3,depth=2"]
    names.append("mmspec:auto,nodes=8")
    return {method.name: method for method in build_methods(names, text)}


def test_speculating_or_not_the_text_is_the_same(arms):
    for draw in range(3):
        case = folders.case(draw=draw)
        said = {name: arm.generate(case) for name, arm in arms.items()}
        assert len({tuple(trace.ids) for trace in said.values()}) == 1
        for trace in said.values():
            check_counts(trace)
            check_seconds(trace.seconds)
            assert trace.prompt_tokens == 40
            assert trace.image_tokens == trace.drafts == 0
            assert trace.finish_reason == "length"
            assert trace.peak_mib > 50
        assert said["vanilla"].passes == said["vanilla"].tokens
        assert not sum(said["vanilla"].rounds.proposed)
        assert said["vanilla"].seconds.draft < 0.1 * said["vanilla"].seconds.total
        assert said["mmspec"].seconds.draft > 0.0


def test_plain_decoding_can_be_measured_against_itself(arms, text):
    (again,) = build_methods(["vanilla.again"], text)
    assert again.settings == arms["vanilla"].settings
    said = again.generate(folders.case())
    assert said.ids == arms["vanilla"].generate(folders.case()).ids
    assert not sum(said.rounds.proposed)


def test_something_is_accepted(arms):
    said = [arms["mmspec"].generate(folders.case(draw=draw, max_tokens=60)) for draw in range(3)]
    assert sum(sum(trace.rounds.accepted) for trace in said) > 0


def test_variants_keep_to_their_budget_and_drafters(arms, text):
    rounds = arms["mmspec:nodes=3,depth=2"].generate(folders.case()).rounds
    assert 0 < max(rounds.proposed) <= 2
    assert max(rounds.depth) <= 2
    suffix = arms["mmspec:retrieval.suffix"]
    assert suffix.settings["speculation"]["drafters"] == ["retrieval.suffix"]
    judged = {name: arm.settings["speculation"]["adaptive"] for name, arm in arms.items()}
    assert [name for name, one in judged.items() if one] == ["vanilla", "mmspec:auto,nodes=8"]
    suffix.generate(folders.case())
    assert text.engine.stats.finished == {"length": 1}


def test_sampled_text_needs_its_seed_only(arms):
    case = folders.case(temperature=1.0, seed=3)
    one, two = arms["vanilla"].generate(case), arms["mmspec"].generate(case)
    assert one.ids == two.ids
    assert one.seed == two.seed == 3
    other = arms["mmspec"].generate(folders.case(temperature=1.0, seed=4))
    assert other.ids != one.ids


def test_an_end_token_is_the_last(arms):
    whole = arms["vanilla"].generate(folders.case()).ids
    end = next(token for token in whole[6:] if whole.index(token) >= 6)
    for arm in arms.values():
        trace = arm.generate(folders.case(stop_token_ids=(end,)))
        assert trace.ids == whole[: whole.index(end) + 1]
        assert trace.finish_reason == "stop"
        check_counts(trace)


def test_caches_are_cold(arms, text):
    case = folders.case(200)
    for _ in range(2):
        arms["mmspec"].generate(case)
        assert text.engine.stats.reused_tokens == 0
        assert text.engine.stats.prompt_tokens == 200


def test_pictures_are_encoded_every_time(seeing, seen):
    (arm,) = build_methods(["mmspec"], seeing)
    for _ in range(2):
        trace = arm.generate(seen)
        assert trace.image_tokens == 72
        assert 0 < trace.seconds.vision < trace.seconds.first
        check_counts(trace)


def test_what_does_not_fit_is_unsupported_with_the_numbers(arms):
    with pytest.raises(UnsupportedError, match=r"1200 tokens.*1024"):
        arms["vanilla"].generate(folders.case(1200))


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory")]
)
def test_memory_that_is_not_there_leaves_nothing_behind(arms, text, monkeypatch, error):
    def fails(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(text.engine.target, "forward", fails)
        with pytest.raises(MemoryError):
            arms["mmspec"].generate(folders.case())
    assert not text.engine.busy
    assert arms["mmspec"].generate(folders.case()).tokens == 24


def test_interrupting_leaves_nothing_in_flight(arms, text, monkeypatch):
    def interrupted(_deltas):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mmspec_evals.methods.engine._Said.read", lambda *_: interrupted(_))
        with pytest.raises(KeyboardInterrupt):
            arms["vanilla"].generate(folders.case())
    assert not text.engine.busy


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mmspec:retrieval.none", r"retrieval\.suffix, retrieval\.recycling"),
        ("mmspec:nodes=99", "max_nodes is 16"),
        ("mmspec:nodes=0", "nodes=N"),
        ("mmspec:auto,retrieval.suffix", "not chosen between"),
        ("vanila", "there are: mmspec"),
        ("openai:", "there are"),
        ("openai:nowhere", "not a URL"),
    ],
)
def test_names_that_do_not_exist(text, name, why):
    with pytest.raises(PlanError, match=why):
        build_methods([name], text)


def test_no_name_twice(text):
    with pytest.raises(PlanError, match="twice: pld"):
        build_methods(["pld", "vanilla", "pld"], text)
