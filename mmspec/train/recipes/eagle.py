"""`mmspec train eagle`: a one-layer feature drafter for any supported target.

The target answers questions (unless --data holds answers), the drafter learns from them with the
target's forward inside every step, and OUT/drafter is a checkpoint for `[drafters.text.eagle]`.
"""

import argparse
import json
import logging
import subprocess
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import msgspec
import torch

from mmspec import __version__
from mmspec.core.errors import ConfigError
from mmspec.model.load import load_model, load_processor
from mmspec.text.eagle_checkpoint import save_checkpoint
from mmspec.text.eagle_network import EagleNetwork
from mmspec.train.capture import FrozenTarget
from mmspec.train.drafter_loop import join_crew, run
from mmspec.train.eagle_data import Asked, Recipe, dry_run, vocabulary, write_answers
from mmspec.train.eagle_shape import eagle_config, first_weights
from mmspec.train.eagle_stage import EagleStage
from mmspec.train.optimizer import MasterAdamW
from mmspec.train.regenerate import fingerprint, tokenizer_digest
from mmspec.train.responses import Responses

LOG = logging.getLogger(__name__)


def read(path: Path | None) -> Recipe:
    """The recipe at ``path``, or the shipped one.

    Raises:
        ConfigError: no such file, an unknown key, a value of the wrong kind.
    """
    try:
        if path is None:
            data = resources.files("mmspec.train.recipes").joinpath("eagle.toml").read_bytes()
        else:
            data = path.read_bytes()
        return msgspec.toml.decode(data, type=Recipe)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path or 'eagle.toml'}: {error}") from error


def train(recipe: Recipe, asked: Asked) -> Mapping[str, float]:
    """Everything that is not yet done in ``asked.out``; returns the last trial's numbers.

    Raises:
        ConfigError, UnsupportedModelError: target, data or recipe do not fit.
        GuardError: the run would be in vain.
    """
    asked.out.mkdir(parents=True, exist_ok=True)
    crew = join_crew(asked.device)
    if asked.data is None and crew.leads:
        write_answers(recipe, asked)
    crew.wait()
    torch.manual_seed(recipe.seed)
    answers = Responses(asked.answers, load_processor(asked.model))
    if answers.manifest.fingerprint != fingerprint(asked.target):
        raise ConfigError(f"{asked.answers} was written by another model: {answers.manifest.model}")
    model = load_model(asked.model)
    config = eagle_config(model.config.get_text_config(), recipe.shape)
    target = FrozenTarget(model, config.layers)
    network = EagleNetwork(config)
    network.lend(target.embed, target.logits, target.norm)
    kept = None
    if config.draft_vocabulary is not None:
        kept = vocabulary(recipe, asked, answers, config.vocabulary)
        network.speak_only(kept)
    if recipe.shape.start == "target":
        first_weights(network, target, kept)
    provenance = _provenance(recipe, asked, answers)
    if crew.leads:
        (asked.out / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")

    def keep(step: int, trial: Mapping[str, float]) -> None:
        told = provenance | {"step": step, "trial": dict(trial)}
        hashed, dtype = tokenizer_digest(asked.target), torch.bfloat16
        save_checkpoint(
            asked.out / "drafter", network, tokenizer=hashed, training=told, dtype=dtype
        )

    stage = EagleStage(
        network, target, answers, None if kept is None else kept.to(target.device),
        plan=recipe, crew=crew, keep=keep,
    )  # fmt: skip
    LOG.info("first rows: %s", stage.check())
    course = recipe.course
    optimizer = MasterAdamW(stage.trained(), course.betas, course.decay, course.clip)
    return run(stage, optimizer, course, asked.out, crew)


def _provenance(recipe: Recipe, asked: Asked, answers: Responses) -> dict[str, object]:
    """Where a drafter comes from: recipe, data, target, commit and versions."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "recipe": msgspec.to_builtins(recipe),
        "seed": recipe.seed,
        "target": asked.target,
        "fingerprint": answers.manifest.fingerprint,
        "questions": answers.manifest.questions,
        "answers": len(answers),
        "commit": commit or "unknown",
        "mmspec": __version__,
        "torch": str(torch.__version__),
    }


def main(argv: list[str]) -> int:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(prog="mmspec train eagle", description=__doc__)
    parser.add_argument("--target", required=True, help="nano, a folder or a hub id")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--config", type=Path, help="a recipe file; the shipped one by default")
    parser.add_argument("--prompts", type=Path, help="JSON lines to ask instead of our own")
    parser.add_argument("--data", type=Path, help="a folder of answers the target has written")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dry-run", action="store_true", help="check all, train nothing")
    said = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    asked = Asked(said.target, said.out, said.device, said.prompts, said.data)
    recipe = read(said.config)
    if said.dry_run:
        LOG.info("checked, and nothing trained:\n%s", dry_run(recipe, asked))
    else:
        LOG.info("held out: %s", dict(train(recipe, asked)))
    return 0
