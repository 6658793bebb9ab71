"""`mmspec train eagle`: a one-layer feature drafter for any supported target.

The target answers questions (unless --data holds answers), the drafter learns from them with the
target's forward inside every step, and OUT/drafter is a checkpoint for `[drafters.text.eagle]`.
"""

import json
import logging
from collections.abc import Mapping

import msgspec
import torch

from mmspec.model.load import load_model
from mmspec.text.eagle_checkpoint import load_checkpoint, save_checkpoint
from mmspec.text.eagle_network import EagleNetwork
from mmspec.train.asked import Asked, begin, command_line
from mmspec.train.capture import FrozenTarget
from mmspec.train.drafter_loop import run
from mmspec.train.eagle_copying import start_copying
from mmspec.train.eagle_data import Recipe, dry_run, vocabulary
from mmspec.train.eagle_shape import eagle_config, first_weights, matrices
from mmspec.train.eagle_stage import EagleStage
from mmspec.train.loop import Optimizer
from mmspec.train.muon import MasterMuon
from mmspec.train.optimizer import MasterAdamW
from mmspec.train.recipe_file import keeper, provenance, read

LOG = logging.getLogger(__name__)


def train(recipe: Recipe, asked: Asked) -> Mapping[str, float]:
    """Everything that is not yet done in ``asked.out``; returns the last trial's numbers.

    Raises:
        ConfigError, UnsupportedModelError: target, data or recipe do not fit.
        GuardError: the run would be in vain.
    """
    crew, answers = begin(asked, recipe.mixture, recipe.questions, recipe.writing)
    torch.manual_seed(recipe.seed)
    model = load_model(asked.model)
    config = eagle_config(model.config.get_text_config(), recipe.shape)
    target = FrozenTarget(model, config.layers)
    network = EagleNetwork(config)
    network.lend(target.embed, target.logits, target.norm)
    kept = None
    if config.draft_vocabulary is not None:
        kept = vocabulary(recipe, asked, answers, config.vocabulary)
        network.speak_only(kept)
    if recipe.shape.start != "fresh":
        first_weights(network, target, kept)
    if recipe.shape.start == "copying":
        start_copying(network, target)
    origin = provenance(recipe, recipe.seed, asked, answers)
    if crew.leads:
        (asked.out / "provenance.json").write_text(json.dumps(origin, indent=1) + "\n")

    stage = EagleStage(
        network, target, answers, None if kept is None else kept.to(target.device),
        plan=recipe, crew=crew, keep=keeper(asked, network, origin, save_checkpoint),
    )  # fmt: skip
    LOG.info("first rows: %s", stage.check())
    return run(stage, _optimizer(recipe, stage), recipe.course, asked.out, crew)


def _optimizer(recipe: Recipe, stage: EagleStage) -> Optimizer:
    course, trained = recipe.course, stage.trained()
    if not recipe.muon:
        return MasterAdamW(trained, course.betas, course.decay, course.clip)
    # Matching is sharp where training starts by copying, and Muon would blur it.
    spared = ("q_proj", "k_proj") if recipe.shape.start == "copying" else ()
    return MasterMuon(trained, matrices(trained, spared))


def text_stage(asked: Asked) -> EagleNetwork:
    """A feature drafter trained in OUT/text by the recipe as shipped, for a stage after it."""
    below = msgspec.structs.replace(asked, out=asked.out / "text", data=None)
    train(read(Recipe, "eagle.toml", None), below)
    return load_checkpoint(below.out / "drafter")[0]


def main(argv: list[str]) -> int:
    """Command line of the recipe."""
    said = command_line("eagle", __doc__, argv)
    recipe = read(Recipe, "eagle.toml", said.config)
    if said.dry_run:
        LOG.info("checked, and nothing trained:\n%s", dry_run(recipe, said.asked))
    else:
        LOG.info("held out: %s", dict(train(recipe, said.asked)))
    return 0
