"""The picture recipes: overfitting, what the engine then does, and whole runs of a tiny model."""

import msgspec
import pytest
import torch
from answered import Answers
from rounds import passes_are_rounds

from mmspec.core.errors import ConfigError
from mmspec.text.eagle_checkpoint import save_checkpoint as save_reading
from mmspec.text.eagle_network import EagleNetwork
from mmspec.train.asked import Asked
from mmspec.train.capture import FrozenTarget
from mmspec.train.drafter_loop import Course, Crew, run
from mmspec.train.eagle_shape import Shape, eagle_config
from mmspec.train.eagle_stage import Plan
from mmspec.train.guards import GuardError
from mmspec.train.lesson import Mix
from mmspec.train.looking import Looking
from mmspec.train.optimizer import MasterAdamW
from mmspec.train.reading import Reading
from mmspec.train.recipe_file import read
from mmspec.train.recipes.vispec import PictureStage, Recipe, dry_run, load_start, seeing
from mmspec.vision.sight import SightConfig
from mmspec.vision.vispec_checkpoint import save_checkpoint
from mmspec.vision.vispec_network import VispecConfig, VispecNetwork

PLAN = Plan(
    mix=Mix(unroll=5),
    course=Course(
        steps=90, rate=1e-2, rate_end=2e-3, warmup=10, log=30, trial=90, save=1000, clip=0.5
    ),
    reading=Reading(rows=8, width=96, held_out=8, bf16=False),
)
SIGHTS = {
    "vispec": SightConfig(),
    "msd": SightConfig(how="keep", tokens=0, glance=False),
    "flash": SightConfig(how="latent", tokens=3, glance=False),
    "positions of its own": SightConfig(compact=True, tokens=2),
}


def stage(answers, sight, plan=PLAN, parallel=1):
    shape = Shape(start="fresh", window=3, parallel=parallel)
    config = eagle_config(answers.model.config.get_text_config(), shape)
    target = FrozenTarget(answers.model, (-1, *config.layers))
    torch.manual_seed(0)
    network = VispecNetwork(VispecConfig(**msgspec.structs.asdict(config), sight=sight))
    network.lend(target.embed)
    made = PictureStage(
        network, target, answers, None, plan=plan, crew=Crew(), keep=lambda *_: None,
        look=Looking(network),
    )  # fmt: skip
    return made, target, MasterAdamW(made.trained(), plan.course.betas, clip=plan.course.clip)


@pytest.mark.parametrize(
    ("name", "sight", "parallel"),
    [("llava", "vispec", 1), ("llava", "msd", 1), ("llava", "flash", 1), ("llava", "flash", 3),
     ("llava", "positions of its own", 1), ("qwen2_5_vl", "vispec", 2)],
)  # fmt: skip
def test_eight_samples_are_learned_by_heart(name, sight, parallel, tmp_path):
    answers = Answers(name)
    assert any(one.prompt.media for one in answers.samples)
    made, target, optimizer = stage(answers, SIGHTS[sight], parallel=parallel)
    made.check()
    after = run(made, optimizer, PLAN.course, tmp_path)
    assert after["held_out_tau"] > 4
    assert after["held_out_accepted"] > 0.9
    lesson = made.module().eval()
    save_checkpoint(tmp_path / "drafter", lesson.network)
    passes_are_rounds("vision.vispec", tmp_path / "drafter", answers, lesson, target)


def test_a_new_reader_changes_nothing_of_what_a_text_drafter_says():
    text = answers_network()
    config = text.config
    both = seeing(text, SightConfig())
    both.lend(text._lent.embed)
    tokens, states = torch.arange(9)[None], torch.randn(1, 9, config.hidden)
    place = torch.arange(9)[None]
    torch.testing.assert_close(both(tokens, states, place), text(tokens, states, place))
    glance = both.sight(
        torch.randn(1, 4, config.target_hidden), states[:, :4], torch.ones(1, 4) > 0
    )
    kept = both.sight.remember(glance.glance, torch.arange(1))
    assert not both.sight.bias(states[0], kept, torch.ones(9, 1) > 0).any()


def test_training_goes_on_from_a_drafter_that_sees(tmp_path):
    first = seeing(answers_network(), SightConfig(glance=True))
    save_checkpoint(tmp_path, first)
    again = seeing(load_start(tmp_path), SightConfig(glance=True))
    for name, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    placed = seeing(load_start(tmp_path), SightConfig(glance=True, orders=3))
    assert not placed.sight.order.any()  # nothing is said of places at first
    assert torch.equal(placed.sight.query, first.sight.query)
    other = seeing(load_start(tmp_path), SightConfig(tokens=2))
    assert other.sight.query.shape[0] == 3
    assert torch.equal(other.q_proj.weight, first.q_proj.weight)


def test_a_drafter_of_blocks_begins_by_saying_what_another_says_in_every_state():
    text = answers_network()
    blocks = seeing(text, SightConfig(how="none", tokens=0, glance=False), 3)
    blocks.lend(text._lent.embed)
    tokens, states = torch.arange(9)[None], torch.randn(1, 9, text.config.hidden)
    place = torch.arange(9)[None]
    said = text(tokens, states, place)
    torch.testing.assert_close(
        blocks(tokens, states, place), said[:, :, None].expand(-1, -1, 3, -1)
    )
    begun = answers_network(parallel=3)
    assert torch.equal(seeing(begun, SightConfig(), 3).down_proj.weight, begun.down_proj.weight)
    with pytest.raises(GuardError, match="3 tokens a pass, not 2"):
        seeing(begun, SightConfig(), 2)


def answers_network(**shape):
    """A text drafter of the tiny target."""
    shape = Shape(start="fresh", **shape)
    config = eagle_config(Answers("llava").model.config.get_text_config(), shape)
    text = EagleNetwork(config)
    text.lend(torch.nn.Embedding(config.vocabulary, config.target_hidden))
    return text


def test_states_that_no_step_would_learn_are_refused():
    plan = msgspec.structs.replace(PLAN, mix=Mix(unroll=3))
    with pytest.raises(GuardError, match="unroll is 3, and the drafter says 4"):
        stage(Answers("llava"), SIGHTS["flash"], plan, 4)


@pytest.mark.parametrize("name", ["vispec", "msd", "flash"])
def test_the_shipped_recipes_are_read(name, tmp_path):
    recipe = read(Recipe, f"{name}.toml", None)
    assert recipe.start == "nano-eagle"
    assert {"vispec": "none", "msd": "keep", "flash": "latent"}[name] == recipe.sight.how
    assert (recipe.parallel > 1) == (name == "flash")
    assert recipe.mix.unroll >= 2 * recipe.parallel
    path = tmp_path / "own.toml"
    path.write_text("[sight]\ntokens = 2\nqueries = 3\n")
    with pytest.raises(ConfigError, match="queries"):
        read(Recipe, f"{name}.toml", path)


@pytest.mark.parametrize(("name", "parallel"), [("vispec", 1), ("flash", 4)])
def test_a_dry_run_says_what_a_run_needs_and_refuses_what_does_not_fit(name, parallel, tmp_path):
    recipe = read(Recipe, f"{name}.toml", None)
    told = dry_run(recipe, Asked("nano", tmp_path))
    asked = f"{recipe.questions} questions"
    for part in ("10 layers of 256", "to see", "GiB", asked, f"{parallel} tokens a pass"):
        assert part in told
    wide = msgspec.structs.replace(recipe, parallel=9)
    with pytest.raises(GuardError, match="says 9 states"):
        dry_run(wide, Asked("nano", tmp_path))
    small = Shape(start="fresh")
    config = eagle_config(Answers("llava").model.config.get_text_config(), small)
    save_reading(tmp_path / "other", EagleNetwork(config))
    with pytest.raises(GuardError, match="of width 64"):
        dry_run(
            msgspec.structs.replace(recipe, start=str(tmp_path / "other")), Asked("nano", tmp_path)
        )


def test_places_tell_two_pictures_of_one_look_apart():
    sight = seeing(answers_network(), SightConfig(orders=2)).sight
    sight.order.data.normal_()
    same = torch.randn(1, sight.hidden).expand(3, -1)
    first, second, third = sight.remember(same, torch.arange(3))
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])
    assert torch.equal(second, third)  # the last place is all that follow's
