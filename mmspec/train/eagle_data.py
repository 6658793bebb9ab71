"""The recipe `eagle`: its draft vocabulary, and what can be checked beforehand."""

import json
import logging

import torch

from mmspec.model.families.find import refuse_unsupported
from mmspec.model.load import load_spec, locate, stop_tokens
from mmspec.text.eagle_network import EagleNetwork
from mmspec.train import draft_vocabulary, guards
from mmspec.train.asked import Asked, look, questions
from mmspec.train.data.mixture import Mixture
from mmspec.train.eagle_shape import Shape, eagle_config, memory
from mmspec.train.eagle_stage import Plan
from mmspec.train.memory import trained
from mmspec.train.responses import Responses, Writing

LOG = logging.getLogger(__name__)
REPORTED = (512, 1024, 2048, 4096, 8192, 16384, 32768)  # sizes of which coverage is told


class Recipe(Plan, frozen=True, forbid_unknown_fields=True):
    """The whole run; ``mixture`` and ``questions`` are for answers that are still to be written.

    ``muon`` moves the matrices by Muon and the rest by AdamW (the course's betas, decay and clip
    are then not used); else all by AdamW.
    """

    seed: int = 1
    muon: bool = False
    shape: Shape = Shape()
    writing: Writing = Writing()
    questions: int = 1000
    mixture: Mixture = Mixture(shares={"scene": 0.5, "document": 0.5})


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
    guards.check_unroll(recipe.mix.unroll, config.parallel)
    with torch.device("meta"):
        network = EagleNetwork(config)
    size = (getattr(spec, "dtype", None) or torch.float32).itemsize
    reading = recipe.reading
    lines = [
        f"target     {spec.model_type}, {text.num_hidden_layers} layers of {text.hidden_size}",
        f"drafter    {trained(network) / 1e6:.1f} M weights, reads layers {list(config.layers)}, "
        f"says {config.said} of {config.vocabulary} ids",
        f"step       {reading.rows} rows of {reading.width} tokens, "
        f"{recipe.course.accumulate} times, unrolled {recipe.mix.unroll}, "
        f"{config.parallel} tokens a pass",
        memory(spec, network, recipe, size).table(),
        look(asked, questions(asked, recipe.mixture, recipe.questions), reading.width, spec),
    ]
    return "\n".join(lines)
