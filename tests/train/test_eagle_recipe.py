"""The recipe `eagle`: overfitting, exact resuming, guards, and a whole run of a tiny model."""

import json
import math

import msgspec
import numpy as np
import pytest
import tiny
import torch
from answered import Answers
from rich.console import Console
from rounds import passes_are_rounds

from mmspec.core.errors import ConfigError
from mmspec.core.request import Prompt
from mmspec.text.eagle_checkpoint import load_checkpoint, save_checkpoint
from mmspec.text.eagle_network import EagleNetwork
from mmspec.train import guards
from mmspec.train.asked import Asked
from mmspec.train.capture import FrozenTarget
from mmspec.train.drafter_loop import Course, Crew, run
from mmspec.train.eagle_data import Recipe, dry_run
from mmspec.train.eagle_shape import Shape, default_layers, eagle_config, first_weights
from mmspec.train.eagle_stage import EagleStage, Plan
from mmspec.train.guards import GuardError
from mmspec.train.lesson import Mix
from mmspec.train.nano_model import processor as nano_processor
from mmspec.train.optimizer import MasterAdamW
from mmspec.train.packing import Sample
from mmspec.train.reading import Reading
from mmspec.train.recipe_file import read
from mmspec.train.recipes import eagle
from mmspec.train.responses import Responses
from mmspec.train.ticker import Ticker

PLAN = Plan(
    mix=Mix(unroll=5),
    course=Course(
        steps=90, rate=1e-2, rate_end=2e-3, warmup=10, log=30, trial=90, save=1000, clip=0.5
    ),
    reading=Reading(rows=8, width=96, held_out=8, bf16=False),
)


def stage(answers, plan=PLAN, kept=None, keep=lambda *_: None, **shape):
    text = answers.model.config.get_text_config()
    asked = Shape(start="fresh", draft_vocabulary=None if kept is None else len(kept), **shape)
    config = eagle_config(text, asked)
    target = FrozenTarget(answers.model, config.layers)
    torch.manual_seed(0)
    network = EagleNetwork(config)
    network.lend(target.embed)
    if kept is not None:
        network.speak_only(kept)
    made = EagleStage(network, target, answers, kept, plan=plan, crew=Crew(), keep=keep)
    return made, MasterAdamW(made.trained(), plan.course.betas, clip=plan.course.clip)


@pytest.mark.parametrize(
    ("name", "parallel"), [("llama", 1), ("llava", 1), ("qwen2_5_vl", 1), ("llama", 4)]
)
def test_eight_samples_are_learned_by_heart(name, parallel, tmp_path):
    answers = Answers(name)
    made, optimizer = stage(answers, parallel=parallel)
    assert made.check()["learned"] == 128
    before = made.trial()
    after = run(made, optimizer, PLAN.course, tmp_path)
    assert before["held_out_tau"] < 1.5
    assert after["held_out_tau"] > 4
    assert after["held_out_accepted"] > 0.9
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [30, 60, 90]
    assert min(rows[-1][f"right_{step}"] for step in (1, 2, 3, 4, 5)) > 0.85
    assert rows[-1]["kl"] < rows[0]["kl"] / 3
    lesson = made.module().eval()
    save_checkpoint(tmp_path / "drafter", lesson.network)
    frozen = FrozenTarget(answers.model, lesson.network.config.layers)
    passes_are_rounds("text.eagle", tmp_path / "drafter", answers, lesson, frozen)


def short(steps, **mix):
    course = msgspec.structs.replace(PLAN.course, steps=steps, save=2, log=2, trial=4)
    reading = msgspec.structs.replace(PLAN.reading, rows=1)
    return Plan(mix=Mix(**{"unroll": 3, **mix}), course=course, reading=reading)


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    answers, plan = Answers("llama"), short(6)
    kept = []
    whole, optimizer = stage(answers, plan)
    run(whole, optimizer, plan.course, tmp_path)
    first, optimizer = stage(answers, plan, keep=lambda *told: kept.append(told))
    loss, calls = first.loss, []

    def killed(step):
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return loss(step)

    first.loss = killed
    (tmp_path / "again").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(first, optimizer, plan.course, tmp_path / "again")
    assert [step for step, _ in kept] == [2]
    second, optimizer = stage(answers, plan)
    run(second, optimizer, plan.course, tmp_path / "again")
    one, two = whole.module().state_dict(), second.module().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert one["running"].min() > 0  # the hybrid loss's own state is part of it


def test_accumulating_is_a_larger_step():
    answers, plan = Answers("llama"), short(1, distance="kl", confidence=0.0)
    made, _ = stage(answers, plan)
    grads = []
    for numbers in ((0,), (1,), (0, 1)):
        made.module().zero_grad()
        for number in numbers:
            (made.loss(number).loss / len(numbers)).backward()
        grads.append(made.trained()["fc.weight"].grad.clone())
    assert torch.allclose((grads[0] + grads[1]) / 2, grads[2], atol=1e-7)
    assert made.loss(0).loss != made.loss(1).loss


@pytest.mark.parametrize("distance", ["hybrid", "kl", "reverse-kl", "tv", "tvd++"])
def test_chunks_change_nothing_and_every_part_has_a_gradient(distance):
    answers = Answers("llama")
    kept = torch.unique(torch.cat([torch.from_numpy(s.response) for s in answers.samples[:6]]))
    told = []
    for chunk in (1024,) if distance == "tvd++" else (1024, 7):
        plan = short(1, distance=distance, features=0.1, chunk=chunk)
        made, _ = stage(answers, plan, kept=kept)
        made.module().running.fill_(0.5)
        step = made.loss(0)
        step.loss.backward()
        named = made.trained().items()
        assert all(value.grad is not None and value.grad.abs().sum() > 0 for _, value in named)
        told.append((step.loss.detach(), made.trained()["o_proj.weight"].grad))
        assert 0 < step.metrics["mass"] < 1
    for loss, grad in told[1:]:
        assert torch.allclose(loss, told[0][0])
        assert torch.allclose(grad, told[0][1], atol=1e-6)


def test_a_reduced_head_is_credited_with_what_it_can_say():
    """A token it cannot say counts as wrong in tau, whatever draft id came first."""
    answers = Answers("llama")
    said = {int(id) for sample in answers.samples for id in sample.response}
    never = torch.tensor(sorted(set(range(150)) - said))
    made, _ = stage(answers, kept=never)
    assert made.trial()["held_out_tau"] == 1.0


def test_guards_stop_what_would_be_in_vain():
    answers = Answers("llama")
    with pytest.raises(GuardError, match="no token to learn from"):
        stage(answers, Plan(reading=Reading(rows=1, width=8, held_out=8, bf16=False)))
    made, _ = stage(answers)
    text = answers.samples[0]
    answers.samples[0] = Sample(text.prompt, (text.response * 7 + 3) % 150)
    for number in range(1, 8):
        answers.samples[number] = answers.samples[0]
    with pytest.raises(GuardError, match="weights, its template or the data"):
        made.check()
    for good in (math.log(160), 0.0, 1.4 * math.log(160)):
        guards.check_start(good, 160)
    for bad in (3 * math.log(160), -0.1, math.nan):
        with pytest.raises(GuardError, match="first step"):
            guards.check_start(bad, 160)
    with pytest.raises(FloatingPointError):
        guards.check_finite(math.inf, 3)
    picture = tiny.prompts("llava")[0]
    guards.check_spans(picture, {tiny.IMAGE})
    for wrong in (Prompt(picture.ids), Prompt(picture.ids[1:], picture.media)):
        with pytest.raises(GuardError, match="placeholders"):
            guards.check_spans(wrong, {tiny.IMAGE})
    with pytest.raises(GuardError, match="ascend"):
        guards.check_vocabulary(np.array([3, 2]), 10)


def test_first_weights_are_the_targets():
    answers = Answers("llama")
    kept = torch.arange(0, 160, 4)
    config = eagle_config(answers.model.config, Shape(draft_vocabulary=40))
    target, network = FrozenTarget(answers.model, config.layers), EagleNetwork(config)
    first_weights(network, target, kept)
    assert torch.equal(network.head.weight, answers.model.lm_head.weight[kept])
    assert torch.equal(network.norm.weight, answers.model.model.norm.weight / 2)
    assert config.rope.kind == "llama3"
    last = torch.randn(5, 64)
    assert torch.allclose(network.fuse([torch.zeros(5, 64), last]), last, atol=0.5)
    assert default_layers(32) == (1, 15, 28)
    assert default_layers(10) == (1, 4, 6)
    with pytest.raises(GuardError, match="target has 3"):
        eagle_config(answers.model.config, Shape(layers=(7,)))


def test_plain_lines_where_there_is_no_terminal(caplog):
    with caplog.at_level("INFO"), Ticker("x", 10, 0, 5, Console(force_terminal=False)) as ticker:
        for done in range(1, 11):
            ticker.tick(done, 100, {"loss": 1.5})
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[1].startswith("x 10/10 loss 1.5")
    assert lines[1].endswith("0:00:00 left")


RECIPE = """
questions = 24
[shape]
draft_vocabulary = 300
start = "fresh"
[writing]
max_tokens = 12
shard = 12
[mix]
unroll = 3
[reading]
rows = 2
width = 256
held_out = 6
bf16 = true
[course]
steps = 4
log = 2
save = 2
trial = 4
[mixture]
objects = [1, 1]
tokens = [10, 40]
shares = { scene = 0.5, source = 0.5 }
"""


def test_a_whole_run(tmp_path, model, tokenizer):
    model.lm_head.weight.data *= 40
    model.save_pretrained(tmp_path / "model")
    nano_processor(tokenizer).save_pretrained(tmp_path / "model")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    asked = Asked(str(tmp_path / "model"), tmp_path / "run")
    recipe = read(Recipe, "eagle.toml", tmp_path / "recipe.toml")
    told = dry_run(recipe, asked)
    assert "24 questions" in told
    assert "sum" in told
    options = ["--target", asked.target, "--out", str(asked.out)]
    assert eagle.main([*options, "--config", str(tmp_path / "recipe.toml")]) == 0
    network, manifest = load_checkpoint(asked.out / "drafter")
    assert network.config.draft_vocabulary == 300
    assert manifest.training["recipe"]["course"]["steps"] == 4
    assert manifest.training["step"] == 4
    assert manifest.training["trial"]["held_out_tau"] >= 1
    assert len(manifest.tokenizer) == 64
    coverage = json.loads((asked.out / "coverage.json").read_text())
    assert 0.5 < coverage["coverage"] <= 1
    assert "24 answers" in dry_run(recipe, asked)
    answers = Responses(asked.out / "answers", None)
    assert manifest.training["fingerprint"] == answers.manifest.fingerprint
    before = (asked.out / "metrics.jsonl").read_text()
    eagle.train(recipe, asked)  # all is done: nothing happens
    assert (asked.out / "metrics.jsonl").read_text() == before
    other = msgspec.structs.replace(recipe, questions=25)
    with pytest.raises(ConfigError, match="or asked otherwise"):
        eagle.train(other, asked)


def test_the_shipped_recipe_reads_and_typos_are_told(tmp_path):
    recipe = read(Recipe, "eagle.toml", None)
    assert recipe.mix.unroll >= 5
    assert recipe.shape.confidence
    (tmp_path / "typo.toml").write_text("[course]\nstep = 3\n")
    with pytest.raises(ConfigError, match="step"):
        read(Recipe, "eagle.toml", tmp_path / "typo.toml")
    with pytest.raises(ConfigError, match="nowhere"):
        read(Recipe, "eagle.toml", tmp_path / "nowhere.toml")
