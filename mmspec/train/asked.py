"""The command line of a drafter's recipe, and the target's answers it leads to."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import torch

from mmspec.core.config import Config, ModelConfig
from mmspec.core.errors import ConfigError
from mmspec.engine.build import build
from mmspec.model.load import load_processor
from mmspec.train import guards
from mmspec.train.drafter_loop import Crew, join_crew
from mmspec.train.questions import FileQuestions, OwnQuestions, Questions
from mmspec.train.regenerate import Regenerator, fingerprint, manifest, missing
from mmspec.train.responses import Responses, Writing, ask
from mmspec.train.ticker import Ticker

if TYPE_CHECKING:
    from mmspec.train.data.mixture import Mixture

LOOKED_AT = 8  # questions or answers that a dry run reads


class Asked(msgspec.Struct, frozen=True):
    """Which target, what it answers or has answered, where all goes."""

    target: str
    out: Path
    device: str = "cpu"
    prompts: Path | None = None
    data: Path | None = None

    @property
    def model(self) -> ModelConfig:
        """How the target is loaded."""
        return ModelConfig(path=self.target, device=self.device)

    @property
    def answers(self) -> Path:
        """The folder of answers."""
        return self.data or self.out / "answers"


class Said(NamedTuple):
    """A command line, read."""

    asked: Asked
    config: Path | None
    dry_run: bool


def command_line(recipe: str, about: str | None, argv: list[str]) -> Said:
    """Read the command line that recipes for drafters share."""
    parser = argparse.ArgumentParser(prog=f"mmspec train {recipe}", description=about)
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
    return Said(asked, said.config, said.dry_run)


def questions(asked: Asked, mixture: Mixture, count: int) -> Questions:
    """What the target is asked: a file's questions, or ``count`` of our own."""
    if asked.prompts is not None:
        return FileQuestions(asked.prompts)
    return OwnQuestions(mixture, count)


def write_answers(model: ModelConfig, wanted: Questions, folder: Path, writing: Writing) -> None:
    """Let a model answer what it has not answered yet.

    Raises:
        ConfigError: the folder holds answers that were written otherwise.
    """
    if not missing(folder, manifest(model.path, wanted, writing)):
        return
    engine, processor = build(Config(model=model))
    writer = Regenerator(engine, processor, model.path, wanted, folder, writing)
    total = -(-len(wanted) // writing.shard)
    before = total - len(writer.missing)
    with Ticker("answers", total, before, 1) as ticker:
        for done, number in enumerate(writer.missing, before + 1):
            said = writer.write(number)
            ticker.tick(done, said, {"answers": said})


def read_answers(asked: Asked) -> Responses:
    """The target's answers.

    Raises:
        ConfigError: there are none, or another model wrote them.
    """
    answers = Responses(asked.answers, load_processor(asked.model))
    if answers.manifest.fingerprint != fingerprint(asked.target):
        raise ConfigError(f"{asked.answers} was written by another model: {answers.manifest.model}")
    return answers


def begin(asked: Asked, mixture: Mixture, count: int, writing: Writing) -> tuple[Crew, Responses]:
    """Join the other processes, let the target answer what it has not, and read its answers.

    Raises:
        ConfigError: answers of another model, or written otherwise.
    """
    asked.out.mkdir(parents=True, exist_ok=True)
    crew = join_crew(asked.device)
    if asked.data is None and crew.leads:
        write_answers(asked.model, questions(asked, mixture, count), asked.answers, writing)
    crew.wait()
    return crew, read_answers(asked)


def look(asked: Asked, wanted: Questions, width: int, spec: Any) -> str:
    """Read a few answers, or the questions still to be answered; what was found.

    Args:
        width: of the rows that they are for. spec: the target's configuration.

    Raises:
        ConfigError, GuardError: there are none, or they do not fit.
    """
    processor = load_processor(asked.model)
    placeholder = getattr(spec, "image_token_id", None)
    media = frozenset() if placeholder is None else frozenset({int(placeholder)})
    if (asked.answers / "manifest.json").exists():
        answers = Responses(asked.answers, processor)
        prompts = [answers.sample(k).prompt for k in range(min(LOOKED_AT, len(answers)))]
        fit = sum(length <= width for length in answers.lengths())
        told = f"{len(answers)} answers, {fit} of them fit a row"
        if fit == 0:
            raise guards.GuardError(f"{told}: reading.width is too small")
    elif asked.data is not None:
        raise ConfigError(f"no answers in {asked.data}")
    else:
        prompts = [ask(wanted[k], processor) for k in range(min(LOOKED_AT, len(wanted)))]
        told = f"{len(wanted)} questions to answer"
        if not prompts or min(len(p.ids) for p in prompts) >= width:
            raise guards.GuardError(f"{told}: their prompts alone fill a row of reading.width")
    for prompt in prompts:
        guards.check_spans(prompt, media)
    lengths = sorted(len(prompt.ids) for prompt in prompts)
    pictures = sum(len(prompt.media) for prompt in prompts)
    return f"data       {told}; first prompts {lengths} tokens, {pictures} pictures"
