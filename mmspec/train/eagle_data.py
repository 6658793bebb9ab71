"""Data of the recipe `eagle`: answers, the draft vocabulary, and what can be checked beforehand."""

import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import torch

from mmspec.core.config import Config, ModelConfig
from mmspec.core.errors import ConfigError
from mmspec.engine.build import build
from mmspec.model.families.find import refuse_unsupported
from mmspec.model.load import load_processor, load_spec, locate, stop_tokens
from mmspec.text.eagle_network import EagleNetwork
from mmspec.train import draft_vocabulary, guards
from mmspec.train.data.mixture import Mixture
from mmspec.train.eagle_shape import Shape, eagle_config, memory
from mmspec.train.eagle_stage import Plan
from mmspec.train.questions import FileQuestions, OwnQuestions, Questions
from mmspec.train.regenerate import Regenerator, manifest, missing
from mmspec.train.responses import Responses, Writing, ask
from mmspec.train.ticker import Ticker

LOG = logging.getLogger(__name__)
LOOKED_AT = 8  # questions or answers that a dry run reads
REPORTED = (512, 1024, 2048, 4096, 8192, 16384, 32768)  # sizes of which coverage is told


class Recipe(Plan, frozen=True, forbid_unknown_fields=True):
    """The whole run; ``mixture`` and ``questions`` are for answers that are still to be written."""

    seed: int = 1
    shape: Shape = Shape()
    writing: Writing = Writing()
    questions: int = 1000
    mixture: Mixture = Mixture(shares={"scene": 0.5, "document": 0.5})


class Asked(msgspec.Struct, frozen=True):
    """The command line: which target, what it answers or has answered, where all goes."""

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


def questions(recipe: Recipe, asked: Asked) -> Questions:
    """What the target is asked."""
    if asked.prompts is not None:
        return FileQuestions(asked.prompts)
    return OwnQuestions(recipe.mixture, recipe.questions)


def write_answers(recipe: Recipe, asked: Asked) -> None:
    """Let the target answer what it has not answered yet."""
    wanted = questions(recipe, asked)
    if not missing(asked.answers, manifest(asked.target, wanted, recipe.writing)):
        return
    engine, processor = build(Config(model=asked.model))
    folder = asked.answers
    writer = Regenerator(engine, processor, asked.target, wanted, folder, recipe.writing)
    total = -(-len(wanted) // recipe.writing.shard)
    before = total - len(writer.missing)
    with Ticker("answers", total, before, 1) as ticker:
        for done, number in enumerate(writer.missing, before + 1):
            said = writer.write(number)
            ticker.tick(done, said, {"answers": said})


def vocabulary(recipe: Recipe, asked: Asked, answers: Responses, size: int) -> torch.Tensor:
    """Target ids of the draft ids, int64 [V]; tells what share of the answers they cover.

    The held-out answers are not counted.
    """
    room = recipe.shape.draft_vocabulary
    assert room is not None
    learned = answers.records[: max(0, len(answers) - recipe.reading.held_out)]
    counted = draft_vocabulary.counts([record.response for record in learned], size)
    ends = stop_tokens(locate(asked.target), load_spec(asked.model))
    chosen = draft_vocabulary.choose(counted, room, ends)
    guards.check_vocabulary(chosen.kept, size)
    sizes = sorted({room, *(n for n in REPORTED if n < size), size})
    told = draft_vocabulary.report(counted, sizes, ends)
    report = {"chosen": room, "coverage": chosen.coverage, "by_size": told}
    (asked.out / "coverage.json").write_text(json.dumps(report, indent=1) + "\n")
    LOG.info("draft vocabulary of %d covers %.2f %% of what was said", room, 100 * chosen.coverage)
    return torch.from_numpy(chosen.kept)


def dry_run(recipe: Recipe, asked: Asked) -> str:
    """Check configuration, shapes, memory and data without reading a weight; what was found.

    Raises:
        ConfigError, UnsupportedModelError, GuardError: what would fail later fails now.
    """
    spec = load_spec(asked.model)
    refuse_unsupported(spec)
    text = spec.get_text_config()
    config = eagle_config(text, recipe.shape)
    with torch.device("meta"):
        network = EagleNetwork(config)
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    size = (getattr(spec, "dtype", None) or torch.float32).itemsize
    reading = recipe.reading
    lines = [
        f"target     {spec.model_type}, {text.num_hidden_layers} layers of {text.hidden_size}",
        f"drafter    {count / 1e6:.1f} M weights, reads layers {list(config.layers)}, "
        f"says {config.said} of {config.vocabulary} ids",
        f"step       {reading.rows} rows of {reading.width} tokens, "
        f"{recipe.course.accumulate} times, unrolled {recipe.mix.unroll}",
        memory(spec, network, recipe, size).table(),
        _look(recipe, asked, spec),
    ]
    return "\n".join(lines)


def _look(recipe: Recipe, asked: Asked, spec: Any) -> str:
    """Read a few answers, or the questions still to be answered."""
    processor = load_processor(asked.model)
    placeholder = getattr(spec, "image_token_id", None)
    media = frozenset() if placeholder is None else frozenset({int(placeholder)})
    if (asked.answers / "manifest.json").exists():
        answers = Responses(asked.answers, processor)
        prompts = [answers.sample(k).prompt for k in range(min(LOOKED_AT, len(answers)))]
        fit = sum(length <= recipe.reading.width for length in answers.lengths())
        told = f"{len(answers)} answers, {fit} of them fit a row"
        if fit == 0:
            raise guards.GuardError(f"{told}: reading.width is too small")
    elif asked.data is not None:
        raise ConfigError(f"no answers in {asked.data}")
    else:
        wanted = questions(recipe, asked)
        prompts = [ask(wanted[k], processor) for k in range(min(LOOKED_AT, len(wanted)))]
        told = f"{len(wanted)} questions to answer"
        if not prompts or min(len(p.ids) for p in prompts) >= recipe.reading.width:
            raise guards.GuardError(f"{told}: their prompts alone fill a row of reading.width")
    for prompt in prompts:
        guards.check_spans(prompt, media)
    lengths = sorted(len(prompt.ids) for prompt in prompts)
    pictures = sum(len(prompt.media) for prompt in prompts)
    return f"data       {told}; first prompts {lengths} tokens, {pictures} pictures"
