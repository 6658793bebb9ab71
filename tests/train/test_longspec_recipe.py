"""The recipe for bounded memory: jumps, lags, first weights, and what the engine does."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny
import torch
from answered import Answers
from rounds import passes_are_rounds

from mmspec.core.errors import ConfigError
from mmspec.core.request import Prompt, Request
from mmspec.core.sequence import Sequence
from mmspec.longctx.longspec_checkpoint import load_checkpoint, save_checkpoint
from mmspec.longctx.longspec_config import LongspecConfig
from mmspec.longctx.longspec_network import LongspecNetwork
from mmspec.model.batch import pack_chunk
from mmspec.model.keys import Keys
from mmspec.model.target import Target
from mmspec.text.eagle_checkpoint import save_checkpoint as save_reading
from mmspec.text.eagle_network import EagleNetwork
from mmspec.train.asked import Asked
from mmspec.train.capture import FrozenTarget
from mmspec.train.drafter_loop import Course, Crew, run
from mmspec.train.eagle_shape import Shape, eagle_config
from mmspec.train.far import FarLesson, Sight, attend, unroll_far
from mmspec.train.guards import GuardError
from mmspec.train.lesson import Mix
from mmspec.train.longspec_stage import FarPlan, LongspecStage
from mmspec.train.longspec_start import fit_reading, from_features, last_full, like_features
from mmspec.train.optimizer import MasterAdamW
from mmspec.train.packing import pack
from mmspec.train.reading import Reading
from mmspec.train.recipe_file import read
from mmspec.train.recipes.longspec import Recipe, begin_far, dry_run, load_start
from mmspec.train.stretching import Stretching, stretch

PLAN = FarPlan(
    mix=Mix(unroll=5),
    course=Course(
        steps=120, rate=1e-2, rate_end=2e-3, warmup=10, log=40, trial=120, save=1000, clip=0.5
    ),
    reading=Reading(rows=8, width=96, held_out=8, bf16=False),
    stretching=Stretching(share=0.0),
)


def begun(answers, window=2):
    torch.manual_seed(0)
    text = answers.model.config.get_text_config()
    return EagleNetwork(eagle_config(text, Shape(start="fresh", window=window)))


def network(answers, reads=2, span=64):
    text, start = answers.model.config.get_text_config(), begun(answers)
    made = from_features(start, like_features(start, reads, text, span))
    torch.nn.init.normal_(made.cross_o.weight, 0, 0.1)
    return made


def published(answers):
    """A shape as LongSpec's: nothing of the target's but its keys."""
    text = answers.model.config.get_text_config()
    torch.manual_seed(0)
    return LongspecNetwork(LongspecConfig(
        hidden=64, target_hidden=64, heads=4, kv_heads=2, head_dim=16, intermediate=96,
        vocabulary=text.vocab_size, reads=2, cross_heads=4, target_kv_heads=2, target_head_dim=16,
        attention_bias=True, final_norm=False,
    ))  # fmt: skip


def stage(answers, made, plan=PLAN):
    target = FrozenTarget(answers.model, made.config.features, keys=made.config.reads)
    made.lend(target.embed, target.logits)
    mine = LongspecStage(made, target, answers, None, plan=plan, crew=Crew(), keep=lambda *_: None)
    return mine, target, MasterAdamW(mine.trained(), plan.course.betas, clip=plan.course.clip)


@pytest.mark.parametrize("name", ["llama", "llava", "qwen2_5_vl"])
def test_eight_samples_are_learned_by_heart(name, tmp_path):
    answers = Answers(name)
    mine, target, optimizer = stage(answers, network(answers))
    mine.check()
    after = run(mine, optimizer, PLAN.course, tmp_path)
    assert after["held_out_tau"] > 4
    lesson = mine.module().eval()
    save_checkpoint(tmp_path / "drafter", lesson.network)
    passes_are_rounds("longctx.longspec", tmp_path / "drafter", answers, lesson, target)


def test_a_published_shape_learns_by_drawn_lags_and_drafts_as_its_trial_says(tmp_path):
    answers = Answers("llama")
    plan = msgspec.structs.replace(PLAN, drawn=True, mix=Mix(unroll=1, depth=5, confidence=0.0))
    mine, target, optimizer = stage(answers, published(answers), plan)
    after = run(mine, optimizer, plan.course, tmp_path)
    assert after["held_out_tau"] > 3.5
    lesson = mine.module().eval()
    save_checkpoint(tmp_path / "drafter", lesson.network)
    passes_are_rounds("longctx.longspec", tmp_path / "drafter", answers, lesson, target)


def test_drawn_lags_take_all_depths_and_refuse_networks_with_states():
    answers, seen = Answers("llama"), set()
    made = published(answers)
    _, target, _ = stage(answers, made)
    lesson = FarLesson(made, target, None, Mix(unroll=1, depth=5), drawn=True).train()
    for first in range(40):
        rows = pack([[answers.sample(first % 8)]], 64, target.family, "cpu")
        rows.tokens[0, 0] = first
        captured = target.read(rows)
        told, slots, valid = lesson._unrolled(rows, captured, [], 1)
        assert len(told) == 1
        at = valid[0]
        for lag in range(5):
            other = unroll_far(made, rows, captured, [], 1, Sight(made.config.span, lag))
            if torch.equal(other.states[0][at], told[0][at]):
                seen.add(lag)
        assert slots.shape == at.shape
    assert seen == set(range(5))
    with pytest.raises(ValueError, match="drawn"):
        FarLesson(network(answers), target, None, Mix(unroll=1), drawn=True)


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5])
def test_shifted_attention_is_an_explicit_mask(lag):
    torch.manual_seed(lag)
    query, key, value = (torch.randn(2, 9, heads, 8) for heads in (4, 2, 2))
    place = torch.arange(9)
    seen = (place[:, None] - lag >= place).expand(2, -1, -1)
    told = attend(query, key.transpose(1, 2), value.transpose(1, 2), seen)
    assert not told[:, :lag].any()
    for at in range(lag, 9):
        for head in range(4):
            known, said = key[:, : at - lag + 1, head // 2], value[:, : at - lag + 1, head // 2]
            scores = (known * query[:, at, None, head]).sum(-1) / 8**0.5
            expected = (scores.softmax(-1)[..., None] * said).sum(1)
            torch.testing.assert_close(told[:, at, head], expected)


def test_a_crowd_is_keys_many_times_over():
    """What counts three times is what stands there three times."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 6, heads, 8) for heads in (4, 2, 2))
    key, value = key.transpose(1, 2), value.transpose(1, 2)
    place = torch.arange(6)
    seen = ((place[:, None] > place) & (place < 4))[None]
    besides = torch.where(place >= 4, math.log(3.0), -torch.inf).expand(1, 6, -1)
    told = attend(query, key, value, seen, besides)
    crowd = [torch.cat([part, *[part[:, :, 4:]] * 2], 2) for part in (key, value)]
    many = torch.cat([seen | (place >= 4), torch.ones(1, 6, 4).bool()], 2)
    expected = attend(query, *crowd, many)
    torch.testing.assert_close(told[:, 1:], expected[:, 1:])
    assert not told[:, 0].any()  # nothing of its own before it: as at a text's first token


def test_a_row_s_other_samples_are_seen_where_they_are_a_crowd():
    answers = Answers("llama")
    made = network(answers)
    _, target, _ = stage(answers, made)
    one, other = answers.sample(0), answers.sample(1)
    alone = pack([[one]], 96, target.family, "cpu")
    beside = pack([[one, other]], 96, target.family, "cpu")
    said = {}
    for name, rows in (("alone", alone), ("beside", beside)):
        for crowd in (0.0, 2.0):
            captured = target.read(rows)
            features = [captured.hidden[k] for k in made.config.features]
            told = unroll_far(made, rows, captured, features, 2, Sight(64, crowd=crowd))
            said[name, crowd] = told.states[1][0, : len(one.response) - 1]
    torch.testing.assert_close(said["alone", 0.0], said["beside", 0.0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(said["alone", 0.0], said["alone", 2.0], atol=1e-4, rtol=1e-4)
    assert (said["beside", 2.0] - said["alone", 2.0]).abs().max() > 1e-2


def test_the_captured_keys_are_those_the_engine_caches():
    answers = Answers("llama")
    target = FrozenTarget(answers.model, (0,), keys=1)
    one = answers.sample(0)
    rows = pack([[one]], len(one), target.family, "cpu")
    captured = target.read(rows)
    served = Target(answers.model)
    cache = served.new_cache(64, chunk=1, scratch=0)
    sequence = tiny_sequence(one)
    cache.open(sequence.id, len(one))
    served.forward(pack_chunk(sequence, len(one), torch.arange(len(one)), cache), cache)
    cache.commit(sequence.id, np.arange(len(one)))
    read_back = Keys(cache).read(sequence, 1)
    torch.testing.assert_close(read_back[0], captured.keys[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(read_back[1], captured.values[0], atol=1e-4, rtol=1e-4)
    assert Keys(cache).place(sequence)[1] == len(one)


def tiny_sequence(sample):
    ids = np.concatenate([sample.prompt.ids, sample.response])
    return Sequence(Request("a", Prompt(ids)), 0, 0)


def test_jumps_leave_anchors_and_order_and_stay_in_reach():
    answers = Answers("qwen2_5_vl")
    target = FrozenTarget(answers.model, (0,))
    rows = pack(
        [[answers.sample(0), answers.sample(1)], [answers.sample(2)]], 160, target.family, "cpu"
    )
    how, still = Stretching(reach=300, margin=100), set()
    for seed in range(60):
        far = stretch(rows, how, 512, seed)
        assert torch.equal(stretch(rows, how, 512, seed).positions, far.positions)
        assert far.positions.max() < 300
        moved = far.positions - rows.positions
        assert torch.equal(moved[0], moved[1])  # every axis alike
        for row, number in ((0, 0), (0, 1), (1, 0)):
            mine = moved[0, row][rows.sample[row] == number]
            assert ((mine == 0) | (mine == mine[-1])).all()
            assert (mine.diff() >= 0).all()
            if mine[-1]:
                still.add(int((mine == 0).sum()))
        assert torch.equal(far.index, rows.index)
    assert still == {0, 1, 2, 3, 4}
    anywhere = [
        int((stretch(rows, Stretching(anywhere=1.0), 4096, seed).positions[0, 1] ==
             rows.positions[0, 1]).sum()) for seed in range(60)
    ]  # fmt: skip
    assert len(set(anywhere)) > 8
    none = stretch(rows, Stretching(share=0.0), 4096, 0)
    assert torch.equal(none.positions, rows.positions)


def test_micro_batches_are_stretched_alike_and_trials_not_at_all():
    answers = Answers("llama")
    plan = msgspec.structs.replace(PLAN, stretching=Stretching(anywhere=0.5, margin=50))
    mine, target, _ = stage(answers, network(answers), plan)
    one, again, other = mine._micro_batch(0), mine._micro_batch(0), mine._micro_batch(1)
    assert torch.equal(one.positions, again.positions)
    assert not torch.equal(one.positions, one.index)
    assert not torch.equal(one.positions - one.index, other.positions - other.index)
    turned = target.read(one).angles[0]
    expected = target._turning.angles(one.positions)[0]
    assert torch.equal(turned, expected)
    tried = mine._reader.rows(mine._reader.tried[0])
    real = tried.sample >= 0
    assert torch.equal(tried.positions[real], tried.index[real])


def test_the_fitted_start_reads_what_a_fresh_one_does_not():
    answers = Answers("llama")
    made = network(answers, reads=0, span=2)
    plan = msgspec.structs.replace(PLAN, mix=Mix(unroll=1))
    mine, target, _ = stage(answers, made, plan)
    torch.nn.init.zeros_(made.cross_o.weight)
    before = mine.trial()["held_out_overlap"]
    fit_reading(made, target, mine.first(2), None)
    assert mine.trial()["held_out_overlap"] > before
    far = published(answers)
    with pytest.raises(GuardError, match="own heads"):
        fit_reading(far, target, mine.first(1), None)


def test_the_layer_to_read_is_the_last_that_sees_all():
    for name, layer in (("llama", 2), ("qwen2", 1), ("gemma3_text", 1), ("llava", 2)):
        assert last_full(tiny.config(name).get_text_config()) == layer
    with pytest.raises(GuardError, match="no layer"):
        last_full(tiny.config("mistral").get_text_config())


def test_first_weights_are_a_feature_drafters():
    answers = Answers("llama")
    start = begun(answers)
    text = answers.model.config.get_text_config()
    config = like_features(start, 1, text, 64)
    made = from_features(start, config)
    assert (config.reads, config.span, config.features) == (1, 64, start.config.layers)
    assert torch.equal(made.q_proj.weight, start.q_proj.weight)
    assert torch.equal(made.k_proj.weight, start.k_proj.weight[:, : 2 * 64])
    assert not made.cross_o.weight.any()
    with pytest.raises(GuardError, match="another shape"):
        from_features(start, msgspec.structs.replace(config, intermediate=40))


def test_training_goes_on_from_a_drafter_of_bounded_memory(tmp_path):
    answers = Answers("llama")
    first = network(answers)
    save_checkpoint(tmp_path, first)
    text = answers.model.config.get_text_config()
    again = begin_far(load_start(tmp_path), read(Recipe, "longspec.toml", None), text)
    assert again.config == first.config  # whatever the recipe says of another
    for name, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.float()), name
    recipe = msgspec.structs.replace(read(Recipe, "longspec.toml", None), start="nano-longspec")
    assert "reads keys of layer 1" in dry_run(recipe, Asked("nano", tmp_path))


def test_the_shipped_recipe_is_read_and_checked_dry(tmp_path):
    recipe = read(Recipe, "longspec.toml", None)
    assert recipe.start == "nano-eagle"
    assert recipe.stretching.anywhere > 0
    told = dry_run(recipe, Asked("nano", tmp_path))
    for part in ("10 layers of 256", "reads keys of layer 1", "GiB", "3200 questions"):
        assert part in told
    with pytest.raises(GuardError, match="layer 11"):
        dry_run(msgspec.structs.replace(recipe, reads=11), Asked("nano", tmp_path))
    answers = Answers("llama")
    save_reading(tmp_path / "other", begun(answers))
    with pytest.raises(GuardError, match=r"another shape|width 64"):
        dry_run(
            msgspec.structs.replace(recipe, start=str(tmp_path / "other")), Asked("nano", tmp_path)
        )
    long = read(Recipe, "longspec.toml", Path("longspec_long.toml"))
    assert long.reading.alone
    assert set(long.mixture.shares) == {"chapter"}
    assert "640 questions" in dry_run(long, Asked("nano", tmp_path))
    path = tmp_path / "own.toml"
    path.write_text("[stretching]\nreach = 9\nfar = 3\n")
    with pytest.raises(ConfigError, match="far"):
        read(Recipe, "longspec.toml", path)


def test_a_network_of_the_recipe_is_kept_and_read(tmp_path):
    made = network(Answers("llama"))
    save_checkpoint(tmp_path, made, dtype=torch.bfloat16)
    assert load_checkpoint(tmp_path).config == made.config
