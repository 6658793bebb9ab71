"""Every family says, token for token, what ``transformers`` says; speculation changes nothing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import tiny
import torch
import transformers as hf
from drafting import Knowing, Random
from running import engine, reported, run

from mmspec.core.config import ModelConfig
from mmspec.core.errors import UnsupportedModelError
from mmspec.core.request import Media, Prompt, Sampling, Speculation
from mmspec.model.attend import NAME
from mmspec.model.families.find import SUPPORTED, refuse_unsupported
from mmspec.model.load import load_target
from mmspec.model.target import Target

families = pytest.mark.parametrize("name", tiny.FAMILIES)
OFF = Speculation(enabled=False)
SAMPLINGS = [
    Sampling(temperature=1.0, top_p=0.9, seed=7, max_tokens=40),
    Sampling(
        temperature=1.2, top_k=30, repetition_penalty=1.3, presence_penalty=0.4,
        frequency_penalty=0.3, seed=11, max_tokens=40,
    ),
    Sampling(
        temperature=0.8, min_p=0.02, logit_bias={5: 3.0, 9: -100.0}, bad_words=((5, 5), (7,)),
        stop_token_ids=(5,), min_tokens=12, seed=-3, max_tokens=40,
    ),
    Sampling(temperature=0.0, repetition_penalty=1.5, max_tokens=40),
]  # fmt: skip


def named(name):
    """The family's prompts by request id, and what transformers says after each."""
    prompts = {str(index): prompt for index, prompt in enumerate(tiny.prompts(name))}
    return prompts, {id: tiny.greedy(name, int(id)) for id in prompts}


def test_every_family_that_is_offered_is_tested():
    assert set(SUPPORTED) == set(tiny.FAMILIES)


@pytest.mark.parametrize("numerics", ["bitwise", "near-tie"])
@families
def test_greedy_text_is_that_of_transformers(name, numerics):
    prompts, texts = named(name)
    target = tiny.target(name, numerics)
    assert run(engine(target), prompts) == texts
    assert run(engine(target, {"t.random": Random(tiny.VOCABULARY)}), prompts) == texts
    knowing = engine(target, {"t.knowing": Knowing(texts, tiny.VOCABULARY)})
    said = reported(knowing, prompts)
    assert {id: tokens for id, (tokens, _) in said.items()} == texts
    assert all(report.tau > 2 and not report.off_reasons for _, report in said.values())
    both = {"t.random": Random(tiny.VOCABULARY), "t.knowing": Knowing(texts, tiny.VOCABULARY)}
    wide = engine(target, both, max_nodes=48, max_depth=7)
    for id, prompt in prompts.items():  # batch 1
        assert run(wide, {id: prompt}) == {id: texts[id]}


@families
def test_double_precision_agrees_too(name):
    prompts, _ = named(name)
    texts = {id: tiny.greedy(name, int(id), 40, torch.float64) for id in prompts}
    target = tiny.target(name, dtype=torch.float64)
    assert target.dtype == torch.float64
    assert run(engine(target), prompts) == texts
    drafter = Knowing(texts, tiny.VOCABULARY)
    assert run(engine(target, {"t.knowing": drafter}), prompts) == texts


def one_text_a_seed(name, dtype, samplings):
    """Plain, guessing, guessing turned off, and alone: each request has one text."""
    prompts = {
        f"{index}/{number}": prompt
        for number in range(len(samplings))
        for index, prompt in enumerate(tiny.prompts(name))
    }
    wishes = {id: samplings[int(id.split("/")[1])] for id in prompts}
    target = tiny.target(name, dtype=dtype)
    plain = run(engine(target), prompts, wishes)
    drafters = {"t.random": Random(tiny.VOCABULARY), "t.knowing": Knowing(plain, tiny.VOCABULARY)}
    guessing = engine(target, drafters)
    said = reported(guessing, prompts, wishes)
    assert {id: tokens for id, (tokens, _) in said.items()} == plain
    assert all(report.tau > 1.3 for tokens, report in said.values() if len(tokens) > 10)
    some = dict(list(prompts.items())[:6])
    assert run(guessing, some, wishes, OFF) == {id: plain[id] for id in some}
    for id, prompt in list(prompts.items())[-2:]:
        assert run(guessing, {id: prompt}, wishes[id]) == {id: plain[id]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@families
def test_a_seed_gives_one_text_with_and_without_speculation(name, dtype):
    one_text_a_seed(name, dtype, SAMPLINGS)


@pytest.mark.slow
@families
def test_two_hundred_draws_give_one_text_each(name):
    dice = np.random.default_rng(sum(name.encode()))
    one_text_a_seed(name, torch.float32, [any_sampling(dice) for _ in range(67)])


def any_sampling(dice):
    """Any wish a client may have, each of the shaping ones in about a third of the draws."""
    some = lambda value, other: value if dice.random() < 0.35 else other  # noqa: E731
    return Sampling(
        temperature=some(0.0, float(dice.uniform(0.3, 1.6))),
        top_k=some(int(dice.integers(1, 60)), 0),
        top_p=some(float(dice.uniform(0.3, 1.0)), 1.0),
        min_p=some(float(dice.uniform(0.0, 0.2)), 0.0),
        repetition_penalty=some(float(dice.uniform(0.8, 1.6)), 1.0),
        presence_penalty=some(float(dice.uniform(-1, 1)), 0.0),
        frequency_penalty=some(float(dice.uniform(-1, 1)), 0.0),
        logit_bias=some({int(id): 3.0 * dice.normal() for id in dice.integers(0, 150, 5)}, {}),
        bad_words=some(tuple(tuple(w.tolist()) for w in dice.integers(0, 150, (4, 2))), ()),
        stop_token_ids=some(tuple(dice.integers(0, 150, 3).tolist()), ()),
        min_tokens=some(10, 0),
        seed=int(dice.integers(-(2**63), 2**63 - 1)),
        max_tokens=int(dice.integers(10, 40)),
    )


@families
def test_chunks_of_another_size_give_the_same_text(name):
    prompts, texts = named(name)
    target = tiny.target(name)
    for chunk in (17, 64, 512):
        assert run(engine(target, chunk=chunk), prompts) == texts


@families
def test_a_remembered_prompt_gives_the_same_text(name):
    prompts, texts = named(name)
    remembering = engine(tiny.target(name), prefix_cache=True)
    longest = max(prompts, key=lambda id: len(prompts[id].ids))
    for round in range(3):
        again = {f"{round}": prompts[longest]}
        assert run(remembering, again) == {f"{round}": texts[longest]}
    assert remembering.stats.reused_tokens > 0


@pytest.mark.parametrize("name", tiny.SEEING)
def test_pictures_matter(name):
    """The tests above would be blind if the tiny model were."""
    prompts, texts = named(name)
    prompt = prompts["2"]
    *others, last = prompt.media
    pixels = torch.zeros_like(last.inputs["pixel_values"])
    blank = Media("blank", last.start, last.length, {**last.inputs, "pixel_values": pixels})
    other = Prompt(prompt.ids, (*others, blank))
    said = run(engine(tiny.target(name)), {"seen": prompt, "blank": other})
    assert said["seen"] == texts["2"]
    assert said["blank"] != texts["2"]


@pytest.mark.parametrize("name", tiny.SEEING)
def test_the_vision_tower_keeps_its_own_attention(name):
    target = tiny.target(name)
    vision = target.model.config.vision_config
    assert vision._attn_implementation in {"sdpa", "eager"}
    assert target.model.config.get_text_config()._attn_implementation == NAME
    for module in target.model.modules():
        inside = getattr(module, "config", None)
        if isinstance(inside, type(vision)):
            assert inside._attn_implementation != NAME


@families
def test_the_configuration_of_another_model_is_left_alone(name):
    shared = tiny.config(name)
    before = copy.deepcopy(shared.to_dict())
    kind = hf.AutoModelForCausalLM if name in tiny.TEXT else hf.AutoModelForImageTextToText
    one, other = kind.from_config(shared), kind.from_config(shared)
    Target(one.eval())
    assert shared.to_dict() == before
    assert other.config.get_text_config()._attn_implementation != NAME
    ids = torch.tensor([[1, 2, 3]])
    assert torch.isfinite(other(input_ids=ids).logits).all()


REFUSED = {
    "bloom": (hf.BloomConfig, "bloom"),
    "gpt2": (hf.GPT2Config, "gpt2"),
    "mamba": (hf.MambaConfig, "mamba"),
    "gemma2": (hf.Gemma2Config, "gemma2"),
    "mixtral": (hf.MixtralConfig, "mixtral"),
    "capped": (lambda: hf.Gemma3TextConfig(attn_logit_softcapping=50.0), "capped attention"),
    "bidirectional": (
        lambda: hf.Gemma3TextConfig(use_bidirectional_attention=True), "bidirectional",
    ),
    "dynamic": (
        lambda: hf.LlamaConfig(
            rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
        ),
        "llama.*rotary",
    ),
    "longrope": (
        lambda: hf.Phi3Config(
            rope_parameters={
                "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 48,
                "long_factor": [2.0] * 48, "original_max_position_embeddings": 4096,
            },
        ),
        "phi3.*rotary",
    ),
    "chunked": (
        lambda: hf.LlamaConfig(num_hidden_layers=1, layer_types=["chunked_attention"]),
        "llama.*chunked_attention",
    ),
    "llava over gpt2": (
        lambda: hf.LlavaConfig(text_config=hf.GPT2Config()), "llava over 'gpt2'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["gpt2", "capped", "dynamic"])
def test_a_folder_is_refused_before_its_weights_are_read(name, tmp_path):
    build, reason = REFUSED[name]
    build().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=reason):
        load_target(ModelConfig(path=str(tmp_path)))


@pytest.mark.parametrize("build", [row[0] for row in REFUSED.values()], ids=REFUSED)
def test_what_cannot_be_served_is_refused_at_load(build, request):
    _, reason = REFUSED[request.node.callspec.id]
    with pytest.raises(UnsupportedModelError, match=reason):
        refuse_unsupported(build())
