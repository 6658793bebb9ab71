"""`mmspec train longspec`: a drafter of bounded memory for any supported target.

It begins with a feature drafter's weights (`start` names one; else `mmspec train eagle` runs in
OUT/text) and learns, on positions that are stretched to the target's full length, to read the
target's own keys and values in place of keys of its own. OUT/drafter is a checkpoint for
`[drafters.longctx.longspec]`.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmspec.longctx.longspec_checkpoint import load_checkpoint as load_far
from mmspec.longctx.longspec_checkpoint import save_checkpoint
from mmspec.longctx.longspec_network import LongspecNetwork
from mmspec.model.families.find import refuse_unsupported
from mmspec.model.load import load_model, load_spec, locate
from mmspec.text.eagle_checkpoint import load_checkpoint
from mmspec.text.eagle_network import EagleNetwork
from mmspec.train import eagle_data
from mmspec.train.asked import Asked, begin, command_line, look, questions
from mmspec.train.capture import FrozenTarget
from mmspec.train.data.mixture import Mixture
from mmspec.train.drafter_loop import run
from mmspec.train.eagle_data import Recipe as TextRecipe
from mmspec.train.eagle_shape import memory
from mmspec.train.guards import GuardError
from mmspec.train.longspec_stage import FarPlan, LongspecStage
from mmspec.train.longspec_start import fit_reading, from_features, last_full, like_features
from mmspec.train.memory import trained
from mmspec.train.optimizer import MasterAdamW
from mmspec.train.recipe_file import keeper, provenance, read
from mmspec.train.recipes import eagle
from mmspec.train.responses import Writing

LOG = logging.getLogger(__name__)
READER = "longctx.longspec"
FITTED = 24  # micro-batches that the first maps are fitted on


class Recipe(FarPlan, frozen=True, forbid_unknown_fields=True):
    """The whole run; ``mixture`` and ``questions`` are for answers that are still to be written.

    Attributes:
        start: a feature drafter's checkpoint, or a bundled one; one of bounded memory, to go on
            from; empty: train a feature drafter first.
        reads: the target's layer whose keys and values are read; None: the last that sees all.
        span: tokens back that the drafter sees of its own.
        fitted: whether its reading begins with maps fitted by least squares (``longspec_start``).
    """

    seed: int = 1
    start: str = ""
    reads: int | None = None
    span: int = 512
    fitted: bool = True
    writing: Writing = Writing()
    questions: int = 1000
    mixture: Mixture = Mixture(shares={"document": 1.0})


def train(recipe: Recipe, asked: Asked) -> Mapping[str, float]:
    """Everything that is not yet done in ``asked.out``; returns the last trial's numbers.

    Raises:
        ConfigError, UnsupportedModelError: target, data or recipe do not fit.
        GuardError: the run would be in vain.
    """
    begun = text_stage(recipe, asked)
    crew, answers = begin(asked, recipe.mixture, recipe.questions, recipe.writing)
    torch.manual_seed(recipe.seed)
    model = load_model(asked.model)
    network = begin_far(begun, recipe, model.config.get_text_config())
    config = network.config
    target = FrozenTarget(model, config.features, keys=config.reads)
    network.lend(target.embed, target.logits, target.norm)
    kept = None if config.draft_vocabulary is None else network.target_ids()
    origin = provenance(recipe, recipe.seed, asked, answers)
    if crew.leads:
        (asked.out / "provenance.json").write_text(json.dumps(origin, indent=1) + "\n")

    stage = LongspecStage(
        network, target, answers, None if kept is None else kept.to(target.device),
        plan=recipe, crew=crew, keep=keeper(asked, network, origin, save_checkpoint),
    )  # fmt: skip
    LOG.info("first rows: %s", stage.check())
    fresh = not isinstance(begun, LongspecNetwork)
    if fresh and recipe.fitted and not (asked.out / f"{stage.name}.pt").exists():
        fit_reading(network, target, stage.first(FITTED), kept)
    course = recipe.course
    optimizer = MasterAdamW(stage.trained(), course.betas, course.decay, course.clip)
    return run(stage, optimizer, course, asked.out, crew)


def begin_far(begun: EagleNetwork | LongspecNetwork, recipe: Recipe, text: Any) -> LongspecNetwork:
    """A network that has a feature drafter's weights; one of bounded memory is itself.

    Args:
        text: the target's configuration.
    """
    if isinstance(begun, LongspecNetwork):
        return begun.float()
    reads = last_full(text) if recipe.reads is None else recipe.reads
    return from_features(begun, like_features(begun, reads, text, recipe.span))


def text_stage(recipe: Recipe, asked: Asked) -> EagleNetwork | LongspecNetwork:
    """A feature drafter that has learned from text, or one that has learned to read already."""
    return load_start(Path(locate(recipe.start))) if recipe.start else eagle.text_stage(asked)


def load_start(folder: Path) -> EagleNetwork | LongspecNetwork:
    """A feature drafter's network, or one of bounded memory."""
    path = folder / "config.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return load_far(folder) if told.get("address") == READER else load_checkpoint(folder)[0]


def dry_run(recipe: Recipe, asked: Asked) -> str:
    """Check configuration, shapes and data without reading a target's weight; what was found.

    Raises:
        ConfigError, UnsupportedModelError, GuardError: what would fail later fails now.
    """
    if not recipe.start:
        return eagle_data.dry_run(read(TextRecipe, "eagle.toml", None), asked)
    spec = load_spec(asked.model)
    refuse_unsupported(spec)
    text = spec.get_text_config()
    begun = load_start(Path(locate(recipe.start)))
    network = begin_far(begun, recipe, text)
    config = network.config
    deepest = max(config.reads, *config.features)
    if config.target_hidden != text.hidden_size or deepest >= text.num_hidden_layers:
        raise GuardError(
            f"{recipe.start} and reads = {config.reads}: width {config.target_hidden}, layer "
            f"{deepest}; the target has {text.num_hidden_layers} of {text.hidden_size}"
        )
    size = (getattr(spec, "dtype", None) or torch.float32).itemsize
    reading, wanted = recipe.reading, questions(asked, recipe.mixture, recipe.questions)
    lines = [
        f"target     {spec.model_type}, {text.num_hidden_layers} layers of {text.hidden_size}",
        f"drafter    {trained(network) / 1e6:.2f} M weights, reads keys of layer {config.reads}, "
        f"after the text stage of {recipe.start}",
        f"step       {reading.rows} rows of {reading.width} tokens, "
        f"{recipe.course.accumulate} times, unrolled {recipe.mix.unroll}",
        memory(spec, network, recipe, size).table(),
        look(asked, wanted, reading.width, spec),
    ]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Command line of the recipe."""
    said = command_line("longspec", __doc__, argv)
    recipe = read(Recipe, "longspec.toml", said.config)
    if said.dry_run:
        LOG.info("checked, and nothing trained:\n%s", dry_run(recipe, said.asked))
    else:
        LOG.info("held out: %s", dict(train(recipe, said.asked)))
    return 0
