"""`mmspec train nano-lm`: a small text model of a target's own layers, to draft for it.

The target answers questions (unless --data holds answers); the student learns the target's whole
law on them and, in rounds, on answers of its own. OUT/student is a plain model folder.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from mmspec.model.load import load_model, load_processor
from mmspec.train.asked import Asked, begin, command_line
from mmspec.train.capture import FrozenTarget
from mmspec.train.drafter_loop import run
from mmspec.train.loop import Optimizer
from mmspec.train.muon import MasterMuon
from mmspec.train.optimizer import MasterAdamW
from mmspec.train.own_answers import OwnAnswers
from mmspec.train.recipe_file import provenance, read
from mmspec.train.student_check import Recipe, dry_run
from mmspec.train.student_model import export, kept_layers, layer_matrices, make_student
from mmspec.train.student_stage import StudentStage

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
    keep = kept_layers(recipe.student.keep, model.config.get_text_config().num_hidden_layers)
    student = make_student(model, keep)
    origin = provenance(recipe, recipe.seed, asked, answers) | {"layers": list(keep)}
    if crew.leads:
        (asked.out / "provenance.json").write_text(json.dumps(origin, indent=1) + "\n")

    def write(folder: Path) -> None:
        export(student, asked.target, folder, origin)

    def finish(step: int, trial: Mapping[str, float]) -> None:
        told = origin | {"step": step, "trial": dict(trial)}
        export(student, asked.target, asked.out / "student", told)

    rounds = None
    if recipe.own.share:
        rounds = OwnAnswers(
            asked.out / "rounds", answers, recipe.reading.held_out, recipe.own,
            load_processor(asked.model), asked.device, crew, write,
        )  # fmt: skip
    target = FrozenTarget(model, (0,))
    stage = StudentStage(student, target, answers, rounds, recipe, crew, finish)
    LOG.info("first rows: %s", stage.check())
    if crew.leads and not (asked.out / f"{stage.name}.pt").exists():
        LOG.info("untrained: %s", stage.trial())
    return run(stage, _optimizer(recipe, stage, keep), recipe.course, asked.out, crew)


def _optimizer(recipe: Recipe, stage: StudentStage, keep: tuple[int, ...]) -> Optimizer:
    course, trained = recipe.course, stage.trained()
    if recipe.student.muon:
        return MasterMuon(trained, layer_matrices(trained, keep, recipe.student.spared))
    return MasterAdamW(trained, course.betas, course.decay, course.clip)


def main(argv: list[str]) -> int:
    """Command line of the recipe."""
    said = command_line("nano-lm", __doc__, argv)
    recipe = read(Recipe, "nano_lm.toml", said.config)
    if said.dry_run:
        LOG.info("checked, and nothing trained:\n%s", dry_run(recipe, said.asked))
    else:
        LOG.info("held out: %s", dict(train(recipe, said.asked)))
    return 0
