"""transformers' arms: the same text as ours in fp32, honest rounds, nothing carried over."""

from __future__ import annotations

import pytest
import tiny
import torch
from evals.methods import folders
from evals.methods.checks import check_counts, check_seconds
from mmspec_evals.method import UnsupportedError
from mmspec_evals.methods.build import Options, build_methods
from mmspec_evals.methods.inputs import model_inputs
from mmspec_evals.methods.meter import Meter
from mmspec_evals.methods.watch import Watch


def build(models, *names, **options):
    return build_methods(names, models, Options(**options))


def assisted(models, name, **options):
    (method,) = build(models, "hf_assisted", assistant=folders.folder(name), **options)
    return method


@pytest.fixture(scope="module")
def plain(text):
    (vanilla,) = build(text, "vanilla")
    return {draw: vanilla.generate(folders.case(draw=draw, max_tokens=48)) for draw in range(2)}


@pytest.fixture(scope="module")
def arms(text):
    greedy, pld, early = build(text, "hf_greedy", "pld", "hf_assisted", early_exit=3)
    small, itself = assisted(text, "draft"), assisted(text, "text", assistant_confidence=0.0)
    return {"greedy": greedy, "pld": pld, "early": early, "small": small, "itself": itself}


def test_every_arm_says_what_plain_decoding_says(arms, plain):
    for draw, meant in plain.items():
        for name, arm in arms.items():
            trace = arm.generate(folders.case(draw=draw, max_tokens=48))
            assert trace.ids == meant.ids, name
            assert trace.text == meant.text
            assert trace.finish_reason == "length"
            check_counts(trace)
            check_seconds(trace.seconds)
            assert trace.seconds.vision == 0.0


def test_rounds_are_what_each_arm_did(arms):
    said = {name: arm.generate(folders.case(max_tokens=48)) for name, arm in arms.items()}
    assert said["greedy"].passes == 48
    assert said["greedy"].drafts == said["pld"].drafts == 0
    assert 0 < max(said["pld"].rounds.proposed) <= 10
    assert sum(said["pld"].rounds.accepted) > 0
    for name in ("small", "early", "itself"):
        # One forward a drafted token, and one now and then that comes to nothing.
        assert said[name].drafts >= sum(said[name].rounds.proposed) > 0, name
        assert 0 < said[name].seconds.draft < said[name].seconds.total
    assert max(said["small"].rounds.proposed) <= 20
    # A model that drafts for itself is always right.
    assert said["itself"].rounds.accepted == said["itself"].rounds.proposed
    assert said["itself"].passes == 3  # 20, 20 and the rest


def test_the_end_is_the_same_for_all(arms, plain):
    whole = plain[0].ids
    end = next(token for token in whole[8:] if whole.index(token) >= 8)
    meant = whole[: whole.index(end) + 1]
    for name, arm in arms.items():
        trace = arm.generate(folders.case(stop_token_ids=(end,), max_tokens=48))
        assert trace.ids == meant, name
        assert trace.finish_reason == "stop"
        check_counts(trace)


def test_what_one_document_taught_is_forgotten(text):
    arm = assisted(text, "text", assistant_schedule="heuristic", assistant_confidence=0.0)
    first = arm.generate(folders.case(max_tokens=60)).rounds.proposed
    assert first[0] == 20
    assert first[1] == 22  # it was right, and grows bolder
    assert arm.generate(folders.case(max_tokens=60)).rounds.proposed == first


def test_settings_tell_what_transformers_would_not(arms):
    assert arms["small"].settings["drafting"] == {
        "num_assistant_tokens": 20,
        "num_assistant_tokens_schedule": "constant",
        "assistant_confidence_threshold": 0.4,
    }
    lookup = {"prompt_lookup_num_tokens": 10, "max_matching_ngram_size": 3}
    assert arms["pld"].settings["generate"] == lookup
    assert arms["early"].settings["generate"] == {"assistant_early_exit": 3}


def test_pictures(seeing, seen):
    vanilla, greedy, pld = build(seeing, "vanilla", "hf_greedy", "pld")
    blind, looking = assisted(seeing, "draft"), assisted(seeing, "seeing")
    meant = vanilla.generate(seen)
    for arm in (greedy, pld, blind, looking):
        trace = arm.generate(seen)
        assert trace.ids == meant.ids
        assert trace.image_tokens == 72
        assert 0 < trace.seconds.vision < trace.seconds.first
        check_counts(trace)
        check_seconds(trace.seconds)


def test_what_does_not_go_together_says_why(text, seeing, seen):
    with pytest.raises(UnsupportedError, match="different tokenizers"):
        assisted(text, "other").generate(folders.case())
    (early,) = build(seeing, "hf_assisted")
    with pytest.raises(UnsupportedError, match="num_hidden_layers"):
        early.generate(seen)


def test_nothing_stays_on_the_model(text, arms, monkeypatch):
    model = text.plain
    depth = model.config.num_hidden_layers

    def fails(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patch:
        patch.setattr(model.model.layers[2], "forward", fails)
        with pytest.raises(MemoryError):
            arms["early"].generate(folders.case())
    assert model.config.num_hidden_layers == depth
    assert "_get_candidate_generator" not in vars(model)
    assert not model._forward_hooks
    assert arms["greedy"].generate(folders.case()).tokens == 24


def test_sampling_is_seeded_and_leaves_the_world_alone(arms):
    before = torch.get_rng_state()
    said = [
        arms["greedy"].generate(folders.case(temperature=1.0, seed=seed)).ids for seed in (1, 1, 2)
    ]
    assert said[0] == said[1] != said[2]
    assert torch.equal(torch.get_rng_state(), before)
    sampled = arms["small"].generate(folders.case(temperature=1.0, seed=1))
    check_counts(sampled)


def test_drafting_that_cannot_be_watched_is_unknown(arms, monkeypatch):
    monkeypatch.setattr(Watch, "_watch_drafting", lambda *_: lambda: None)
    trace = arms["pld"].generate(folders.case(max_tokens=48))
    assert trace.rounds is trace.drafts is trace.seconds.draft is None
    assert 0 < trace.passes < 48


@pytest.mark.parametrize("name", tiny.SEEING)
def test_inputs_are_those_of_the_model_s_own_processor(name):
    for prompt in tiny.prompts(name):
        ours = model_inputs(prompt, torch.device("cpu"), torch.float32)
        meant = tiny.model_inputs(name, prompt, torch.float32)
        assert ours.keys() == meant.keys()
        assert all(torch.equal(ours[key], meant[key]) for key in meant)


def test_the_meter_lets_garbage_wait():
    import gc  # noqa: PLC0415

    with Meter(torch.device("cpu")) as meter:
        assert not gc.isenabled()
        assert 0 <= meter.seconds() < 1
        assert 50 < meter.peak_mib() < 100_000
    assert gc.isenabled()
