"""The prompt's own log-probabilities: transformers' numbers, whatever is cached or beside them."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from running import engine, run, told

from mmspec.core.errors import BadRequestError
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.engine import score as score_module

DRAW = np.random.default_rng(5)
PROMPTS = {str(size): Prompt(DRAW.integers(3, 90, size)) for size in (1, 2, 33, 34, 97)}
ASKED = Sampling(temperature=0.0, max_tokens=3, prompt_logprobs=2)


@pytest.fixture(scope="module")
def target():
    return tiny.target("llama", "bitwise")


@pytest.fixture(scope="module")
def truth():
    """transformers' log-softmax after every token of every prompt, float64 [P, V]."""
    with torch.inference_mode():
        return {
            id: tiny.reference("llama")(torch.from_numpy(prompt.ids)[None])
            .logits[0].double().log_softmax(-1).numpy()
            for id, prompt in PROMPTS.items()
        }  # fmt: skip


def scored(engine, prompts=PROMPTS, sampling=ASKED):
    """Request -> the prompt's entries, as the first Delta of choice 0 tells them."""
    for id, prompt in prompts.items():
        engine.submit(Request(id, prompt, sampling))
    found, deltas = {}, []
    while engine.busy:
        deltas += engine.step()
    for delta in deltas:
        assert delta.error is None
        assert delta.prompt_logprobs is None or delta.request_id not in found
        if delta.prompt_logprobs is not None:
            assert delta.choice == 0
            found[delta.request_id] = delta.prompt_logprobs
    return found, deltas


def test_every_token_but_the_first_as_transformers_has_it(target, truth):
    found, _ = scored(engine(target))
    assert set(found) == {"2", "33", "34", "97"}  # one token alone has nothing before it
    for id, entries in found.items():
        ids = PROMPTS[id].ids
        assert [entry.token for entry in entries] == ids[1:].tolist()
        rows = truth[id][:-1]
        expected = rows[np.arange(len(rows)), ids[1:]]
        np.testing.assert_allclose([entry.logprob for entry in entries], expected, atol=2e-4)
        best = np.sort(rows, 1)[:, ::-1][:, :2]
        np.testing.assert_allclose([[p for _, p in e.top] for e in entries], best, atol=2e-4)
        ranks = 1 + (rows > expected[:, None]).sum(1)
        assert np.mean(ranks == [entry.rank for entry in entries]) > 0.95  # near ties may swap


def test_text_is_not_changed_and_ends_alike(target):
    plain = Sampling(temperature=0.0, max_tokens=3)
    assert run(engine(target), PROMPTS, ASKED) == run(engine(target), PROMPTS, plain)


def test_a_remembered_prompt_is_read_again_for_its_numbers(target):
    prompts = {"97": PROMPTS["97"]}
    warm = engine(target, prefix_cache=True)
    run(warm, prompts)
    again, deltas = scored(warm, prompts)
    assert again == scored(engine(target), prompts)[0]  # the same bits
    assert {delta.cached_tokens for delta in deltas} == {0}
    _, later = scored(warm, prompts, Sampling(temperature=0.0, max_tokens=3))
    assert {delta.cached_tokens for delta in later} == {96}  # remembered all the same


def test_company_slices_and_choices_change_nothing(target, monkeypatch):
    alone = {id: scored(engine(target), {id: PROMPTS[id]})[0].get(id) for id in PROMPTS}
    together, _ = scored(engine(target))
    assert together == {id: entries for id, entries in alone.items() if entries}
    several = Sampling(temperature=1.0, seed=1, n=3, max_tokens=2, prompt_logprobs=2)
    assert scored(engine(target), {"97": PROMPTS["97"]}, several)[0]["97"] == alone["97"]
    monkeypatch.setattr(score_module, "SLICE", 7)
    (entries,) = scored(engine(target), {"97": PROMPTS["97"]})[0].values()
    np.testing.assert_allclose(
        [entry.logprob for entry in entries], [entry.logprob for entry in alone["97"]], atol=1e-5
    )


def test_agrees_with_what_generation_reported(target):
    start = {"a": PROMPTS["33"]}
    likely = told(engine(target), start, Sampling(temperature=0.0, max_tokens=30, logprobs=0))["a"]
    ids = np.concatenate([PROMPTS["33"].ids, [entry.token for entry in likely]])
    entries = scored(engine(target), {"a": Prompt(ids)})[0]["a"][-30:]
    assert [entry.token for entry in entries] == [entry.token for entry in likely]
    assert {entry.rank for entry in entries} == {1}
    np.testing.assert_allclose(
        [entry.logprob for entry in entries], [entry.logprob for entry in likely], atol=2e-4
    )


def test_nothing_need_be_said(target):
    silent = Sampling(max_tokens=0, prompt_logprobs=0)
    found, deltas = scored(engine(target), sampling=silent)
    assert {id: len(entries) for id, entries in found.items()} == {
        "2": 1, "33": 32, "34": 33, "97": 96,
    }  # fmt: skip
    assert [delta.tokens for delta in deltas] == [()] * len(PROMPTS)
    assert {delta.finish_reason for delta in deltas} == {"length"}
    with pytest.raises(BadRequestError):
        Sampling(max_tokens=0).check()
    with pytest.raises(BadRequestError):
        Sampling(prompt_logprobs=21).check()
