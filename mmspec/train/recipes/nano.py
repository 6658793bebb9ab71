"""`mmspec train nano`: tokenizer, dense stage, language phases of growing depth, export, probe."""

import argparse
import json
import logging
import subprocess
from importlib import resources
from itertools import accumulate
from pathlib import Path

import msgspec
import torch
from torch import nn
from transformers import (
    CLIPVisionModel,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from mmspec.train import place_code
from mmspec.train import tokenizer as nano_tokenizer
from mmspec.train.card import write_tables
from mmspec.train.copying_circuit import balance, install
from mmspec.train.dense import Dense, DenseStage
from mmspec.train.language import LanguageStage, Phase, muon_matrices, trained_parameters
from mmspec.train.loop import Optimizer, Pace, finished, run
from mmspec.train.muon import MasterMuon
from mmspec.train.nano_model import Shape, build, export, grow, vision_config
from mmspec.train.optimizer import MasterAdamW
from mmspec.train.probe import probe

LOG = logging.getLogger(__name__)


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole run; `phases` happen in their order."""

    seed: int
    shape: Shape
    dense: Dense
    phases: tuple[Phase, ...]
    tokenizer_rounds: int = 1500
    compiled: bool = True
    pace: dict[str, int] = {}


def read(path: Path | None) -> Recipe:
    """The recipe at `path`, or the shipped one; raises msgspec.ValidationError on unknown keys."""
    if path is None:
        data = resources.files("mmspec.train.recipes").joinpath("nano.toml").read_bytes()
    else:
        data = path.read_bytes()
    return msgspec.toml.decode(data, type=Recipe)


class Start(msgspec.Struct, frozen=True):
    """A model folder that has been through the recipe's phases up to and including `after`."""

    folder: Path
    after: str


def train(
    recipe: Recipe, folder: Path, start: Start | None = None, device: str = "cpu", workers: int = 0
) -> None:
    """Run what is not yet done in `folder`, and leave the exported model in `folder`/export.

    With `start`, the phases after it are run on its model, with a fresh optimizer. `device` is
    where the language phases run, `workers` how many processes make their rows. Raises
    ValueError when the recipe has no phase of start's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "provenance.json").write_text(json.dumps(provenance(recipe), indent=1) + "\n")
    pace = Pace(**recipe.pace)
    torch.manual_seed(recipe.seed)
    phases = _numbered(recipe.phases)
    if start is None:
        tokenizer = _tokenizer(recipe, folder)
        model = _new(recipe, folder, tokenizer, pace)
    else:
        tokenizer = _copied_tokenizer(start.folder, folder)
        model = LlavaForConditionalGeneration.from_pretrained(start.folder)
        phases = _after(phases, start.after)
    optimizer: Optimizer | None = None
    for phase in phases:
        if phase.sharpen is not None:
            model = model.to("cpu")
            _sharpen(model, f"{phase.name}-tower", phase.sharpen, folder, pace)
        model, optimizer = _deepen(model, optimizer, phase, device)
        if finished(folder, phase.name, phase.steps):
            kept = torch.load(folder / f"{phase.name}.pt", map_location="cpu", weights_only=True)
            model.load_state_dict(kept["model"], strict=True)
            optimizer.load(kept["optimizer"])
            continue
        stage = LanguageStage(phase, model, tokenizer, recipe.compiled, workers)
        run(stage, folder, pace, optimizer)
    export_phase(recipe, folder, recipe.phases[-1].name)


def provenance(recipe: Recipe) -> dict[str, object]:
    """Configuration, seed, commit and library versions of a run."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "recipe": msgspec.to_builtins(recipe),
        "seed": recipe.seed,
        "commit": commit or "unknown",
        "torch": torch.__version__,
    }


def export_phase(recipe: Recipe, folder: Path, name: str) -> None:
    """Write the model of a phase's latest checkpoint, and where it comes from, to `folder`/export.

    Raises StopIteration for a phase that the recipe does not name.
    """
    phase = next(phase for phase in recipe.phases if phase.name == name)
    tokenizer = _tokenizer(recipe, folder)
    model = build(msgspec.structs.replace(recipe.shape, layers=phase.layers), tokenizer)
    kept = torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(kept["model"], strict=True)
    export(model, tokenizer, folder / "export")
    told = provenance(recipe) | {"phase": name, "step": kept["step"]}
    (folder / "export" / "training.json").write_text(json.dumps(told, indent=1) + "\n")


def main(argv: list[str]) -> int:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(prog="mmspec train nano", description=__doc__)
    parser.add_argument("--config", type=Path, help="a recipe file; the shipped one by default")
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="folder of the run")
    parser.add_argument("--start", type=Path, help="a model folder to go on from")
    parser.add_argument("--after", metavar="PHASE", help="the last phase that --start has seen")
    parser.add_argument("--export", metavar="PHASE", help="export a phase's checkpoint and stop")
    parser.add_argument("--probe", action="store_true", help="score a model folder and stop")
    parser.add_argument("--model", type=Path, help="what to probe; the bundled model by default")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that make the data")
    parser.add_argument("--examples", type=int, default=100, help="probe examples of each kind")
    asked = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if asked.probe:
        folder = asked.model or Path(str(resources.files("mmspec.zoo").joinpath("nano")))
        measured = probe(folder, asked.examples)
        told = json.dumps(measured, indent=1)
        (folder / "probe.json").write_text(told + "\n")
        if (folder / "MODEL_CARD.md").exists():
            write_tables(folder / "MODEL_CARD.md", measured)
        LOG.info("%s", told)
    elif (asked.start is None) != (asked.after is None):
        parser.error("--start and --after go together")
    elif asked.export:
        export_phase(read(asked.config), asked.out, asked.export)
    else:
        start = Start(asked.start, asked.after) if asked.start else None
        train(read(asked.config), asked.out, start, asked.device, asked.workers)
    return 0


def _tokenizer(recipe: Recipe, folder: Path) -> PreTrainedTokenizerFast:
    path = folder / "tokenizer"
    if not path.exists():
        texts = nano_tokenizer.corpus(recipe.tokenizer_rounds)
        nano_tokenizer.train(recipe.shape.vocabulary, texts).save_pretrained(path)
    return PreTrainedTokenizerFast.from_pretrained(path)


def _copied_tokenizer(source: Path, folder: Path) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(source)
    tokenizer.save_pretrained(folder / "tokenizer")
    return tokenizer


def _numbered(phases: tuple[Phase, ...]) -> list[Phase]:
    """The phases, each knowing how many steps came before it: no two read the same examples."""
    starts = accumulate((phase.steps for phase in phases[:-1]), initial=0)
    return [
        msgspec.structs.replace(phase, first_step=first)
        for phase, first in zip(phases, starts, strict=True)
    ]


def _after(phases: list[Phase], name: str) -> list[Phase]:
    names = [phase.name for phase in phases]
    if name not in names:
        raise ValueError(f"the recipe has no phase {name!r}, only {', '.join(names)}")
    return phases[names.index(name) + 1 :]


def _new(
    recipe: Recipe, folder: Path, tokenizer: PreTrainedTokenizerFast, pace: Pace
) -> LlavaForConditionalGeneration:
    """A fresh model whose tower has been through the dense stage."""
    model = build(recipe.shape, tokenizer)
    tower = CLIPVisionModel(vision_config(recipe.shape)).to(torch.bfloat16)
    _teach(tower, "dense", recipe.dense, folder, pace)
    model.model.vision_tower.load_state_dict(tower.state_dict(), strict=True)
    balance(model)
    return model


def _sharpen(
    model: LlavaForConditionalGeneration, name: str, dense: Dense, folder: Path, pace: Pace
) -> None:
    """Teach the model's own tower on; the heads that name patches are new."""
    tower = model.model.vision_tower.requires_grad_(True)
    _teach(tower, name, dense, folder, pace)


def _teach(tower: nn.Module, name: str, dense: Dense, folder: Path, pace: Pace) -> None:
    """Leave `tower` as the dense stage of that name makes it."""
    stage = DenseStage(name, tower, dense)
    if finished(folder, name, dense.steps):
        kept = torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True)
        stage.module().load_state_dict(kept["model"], strict=True)
    else:
        run(stage, folder, pace, MasterAdamW(stage.trained()))


def _deepen(
    model: LlavaForConditionalGeneration, optimizer: Optimizer | None, phase: Phase, device: str
) -> tuple[LlavaForConditionalGeneration, Optimizer]:
    """Grow when the phase is deeper; moments survive only where the trained parts stay."""
    if phase.circuit or phase.places:
        model = model.to("cpu")  # where the inserted parts are measured
    if phase.circuit:
        model, optimizer = install(model), None
    if phase.places:
        place_code.install(model)
        optimizer = None
    if model.config.text_config.num_hidden_layers != phase.layers:
        model, optimizer = grow(model, phase.layers, phase.frozen), None
    if model.device != torch.device(device):
        model, optimizer = model.to(device), None
    trained = trained_parameters(model, phase.frozen)
    kind = MasterMuon if phase.muon else MasterAdamW
    if type(optimizer) is not kind or set(optimizer.parameters) != set(trained):
        optimizer = (
            MasterMuon(trained, muon_matrices(trained)) if phase.muon else MasterAdamW(trained)
        )
    return model, optimizer
