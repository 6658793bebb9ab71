"""`mmspec train vispec`: a feature drafter that sees pictures, for any supported target.

First the text stage (`start` names a drafter that has been through it; else `mmspec train eagle`
runs in OUT/text), then the picture stage: the same layer learns on from the target's long answers
about pictures, each picture read by its compressor. OUT/drafter is a checkpoint for
`[drafters.vision.vispec]`. The recipes `msd` and `flash` see in other ways.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch

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
from mmspec.train.eagle_shape import in_blocks, memory
from mmspec.train.eagle_stage import EagleStage, Plan
from mmspec.train.guards import GuardError, check_unroll
from mmspec.train.looking import Looking
from mmspec.train.memory import trained
from mmspec.train.optimizer import MasterAdamW
from mmspec.train.recipe_file import keeper, provenance, read
from mmspec.train.recipes import eagle
from mmspec.train.responses import Writing
from mmspec.vision.sight import SightConfig
from mmspec.vision.vispec_checkpoint import load_checkpoint as load_seeing
from mmspec.vision.vispec_checkpoint import save_checkpoint
from mmspec.vision.vispec_network import VispecConfig, VispecNetwork

LOG = logging.getLogger(__name__)
EYES = "vision.vispec"


class Recipe(Plan, frozen=True, forbid_unknown_fields=True):
    """The whole run; ``mixture`` and ``questions`` are for answers that are still to be written.

    Attributes:
        start: a feature drafter's checkpoint, or a bundled one, that has been through the text
            stage, or one that sees already, to go on from; empty: train a text drafter first.
        sight: how pictures are seen. parallel: tokens that one pass of the drafter foretells.
    """

    seed: int = 1
    start: str = ""
    sight: SightConfig = SightConfig()
    parallel: int = 1
    writing: Writing = Writing()
    questions: int = 1000
    mixture: Mixture = Mixture(shares={"scene": 1.0})


class PictureStage(EagleStage):
    """The second stage; its files are not the first one's."""

    name = "vispec"


def train(recipe: Recipe, asked: Asked) -> Mapping[str, float]:
    """Everything that is not yet done in ``asked.out``; returns the last trial's numbers.

    Raises:
        ConfigError, UnsupportedModelError: target, data or recipe do not fit.
        GuardError: the run would be in vain.
    """
    begun = text_stage(recipe, asked)
    crew, answers = begin(asked, recipe.mixture, recipe.questions, recipe.writing)
    torch.manual_seed(recipe.seed)
    network = seeing(begun, recipe.sight, recipe.parallel)
    target = FrozenTarget(load_model(asked.model), (-1, *network.config.layers))
    network.lend(target.embed, target.logits, target.norm)
    kept = None if network.config.draft_vocabulary is None else network.target_ids()
    origin = provenance(recipe, recipe.seed, asked, answers)
    if crew.leads:
        (asked.out / "provenance.json").write_text(json.dumps(origin, indent=1) + "\n")

    stage = PictureStage(
        network, target, answers, None if kept is None else kept.to(target.device),
        plan=recipe, crew=crew, keep=keeper(asked, network, origin, save_checkpoint),
        look=Looking(network),
    )  # fmt: skip
    LOG.info("first rows: %s", stage.check())
    course = recipe.course
    optimizer = MasterAdamW(stage.trained(), course.betas, course.decay, course.clip)
    return run(stage, optimizer, course, asked.out, crew)


def seeing(begun: EagleNetwork, sight: SightConfig, parallel: int = 1) -> VispecNetwork:
    """A network that has all of another's weights, and a new reader unless the other's is such.

    Raises:
        GuardError: the other says several tokens a pass, and not ``parallel``.
    """
    body = msgspec.structs.asdict(begun.config) | {"parallel": parallel, "sight": sight}
    network = VispecNetwork(VispecConfig(**body))
    told = in_blocks(begun.float(), parallel)
    fresh = {name: one for name, one in network.state_dict().items() if name.startswith("sight.")}
    if isinstance(begun, VispecNetwork) and _but_for_orders(begun.config.sight, sight):
        told = {name: one for name, one in fresh.items() if name == "sight.order"} | told
    else:
        told = {name: one for name, one in told.items() if not name.startswith("sight.")} | fresh
    network.load_state_dict(told)
    return network


def _but_for_orders(had: SightConfig, wanted: SightConfig) -> bool:
    """Whether one reader is the other, or has places beside (which are 0 at first)."""
    return wanted in (had, msgspec.structs.replace(had, orders=wanted.orders))


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
    network = seeing(load_start(Path(locate(recipe.start))), recipe.sight, recipe.parallel)
    config = network.config
    check_unroll(recipe.mix.unroll, config.parallel)
    if config.target_hidden != text.hidden_size or max(config.layers) >= text.num_hidden_layers:
        raise GuardError(
            f"{recipe.start} reads layers {config.layers} of width {config.target_hidden}; the "
            f"target has {text.num_hidden_layers} of {text.hidden_size}"
        )
    size = (getattr(spec, "dtype", None) or torch.float32).itemsize
    reading, wanted = recipe.reading, questions(asked, recipe.mixture, recipe.questions)
    lines = [
        f"target     {spec.model_type}, {text.num_hidden_layers} layers of {text.hidden_size}",
        f"drafter    {trained(network) / 1e6:.2f} M weights, {trained(network.sight) / 1e6:.2f} M "
        f"of them to see; after the text stage of {recipe.start}",
        f"step       {reading.rows} rows of {reading.width} tokens, "
        f"{recipe.course.accumulate} times, unrolled {recipe.mix.unroll}, "
        f"{config.parallel} tokens a pass",
        memory(spec, network, recipe, size).table(),
        look(asked, wanted, reading.width, spec),
    ]
    return "\n".join(lines)


def text_stage(recipe: Recipe, asked: Asked) -> EagleNetwork:
    """A feature drafter that has learned from text; or one that has learned to see already."""
    return load_start(Path(locate(recipe.start))) if recipe.start else eagle.text_stage(asked)


def load_start(folder: Path) -> EagleNetwork:
    """A text drafter's network, or one that sees."""
    path = folder / "config.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return load_seeing(folder) if told.get("address") == EYES else load_checkpoint(folder)[0]


def main(argv: list[str]) -> int:
    """Command line of the recipe."""
    return begin_recipe("vispec", __doc__, argv)


def begin_recipe(name: str, about: str | None, argv: list[str]) -> int:
    """Command line of a recipe for a drafter that sees: vispec, msd or flash."""
    said = command_line(name, about, argv)
    recipe = read(Recipe, f"{name}.toml", said.config)
    if said.dry_run:
        LOG.info("checked, and nothing trained:\n%s", dry_run(recipe, said.asked))
    else:
        LOG.info("held out: %s", dict(train(recipe, said.asked)))
    return 0
