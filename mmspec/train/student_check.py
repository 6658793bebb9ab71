"""The recipe `nano-lm` as a file, and what can be checked of it beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import torch
from transformers import AutoModelForCausalLM

from mmspec.model.families.find import refuse_unsupported
from mmspec.model.load import load_spec
from mmspec.train.asked import look, questions
from mmspec.train.data.mixture import Mixture
from mmspec.train.memory import Memory, trained, weights
from mmspec.train.responses import Writing
from mmspec.train.student_model import kept_layers, student_spec
from mmspec.train.student_stage import Plan

if TYPE_CHECKING:
    from torch import nn

    from mmspec.train.asked import Asked


class Student(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the student is made of, and how it moves.

    Attributes:
        keep: layers of the target; empty: the first two and the last.
        muon: move the layers' matrices by Muon and the rest by AdamW (the course's betas, decay
            and clip are then not used); else all by AdamW.
        spared: layers of the target whose attention Muon leaves to AdamW.
    """

    keep: tuple[int, ...] = ()
    muon: bool = False
    spared: tuple[int, ...] = ()


class Recipe(Plan, frozen=True, forbid_unknown_fields=True):
    """The whole run; ``mixture`` and ``questions`` are for answers that are still to be written."""

    seed: int = 1
    student: Student = Student()
    writing: Writing = Writing()
    questions: int = 1000
    mixture: Mixture = Mixture(shares={"scene": 0.3, "document": 0.7})


def dry_run(recipe: Recipe, asked: Asked) -> str:
    """Check configuration, shapes, memory and data without reading a weight; what was found.

    Raises:
        ConfigError, UnsupportedModelError, GuardError: what would fail later fails now.
    """
    spec = load_spec(asked.model)
    refuse_unsupported(spec)
    text = spec.get_text_config()
    keep = kept_layers(recipe.student.keep, text.num_hidden_layers)
    with torch.device("meta"):
        student = AutoModelForCausalLM.from_config(student_spec(spec, keep))
    reading, own, course = recipe.reading, recipe.own, recipe.course
    rounds = (course.steps - 1) // own.refresh if own.share else 0
    size = (getattr(spec, "dtype", None) or torch.float32).itemsize
    lines = [
        f"target     {spec.model_type}, {text.num_hidden_layers} layers of {text.hidden_size}",
        f"student    {student.config.model_type}, {trained(student) / 1e6:.1f} M weights, "
        f"layers {list(keep)}",
        f"step       {reading.rows} rows of {reading.width} tokens, {course.accumulate} times",
        f"own        {rounds} rounds of {own.questions} answers, {own.share:.0%} of what is read "
        f"from step {own.refresh} on",
        memory(spec, student, recipe, size).table(),
        look(asked, questions(asked, recipe.mixture, recipe.questions), reading.width, spec),
    ]
    return "\n".join(lines)


def memory(spec: Any, student: nn.Module, plan: Plan, bytes_a_weight: int) -> Memory:
    """What training needs, from configurations alone.

    Args:
        spec: the target's configuration. bytes_a_weight: of the target's weights.
    """
    text, reading = spec.get_text_config(), plan.reading
    config: Any = student.config
    tokens, width = reading.rows * reading.width, 2 if reading.bf16 else 4
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    a_token = 8 * config.hidden_size + 4 * heads * head_dim + 4 * config.intermediate_size
    learned = tokens * a_token * width * config.num_hidden_layers
    reads = tokens * (8 * text.hidden_size + 3 * text.intermediate_size) * width
    masks = 2 * tokens * reading.width
    return Memory(
        target=weights(spec) * bytes_a_weight,
        drafter=trained(student) * 8,  # weights and gradients in fp32
        optimizer=trained(student) * 12,  # master copy and two moments
        activations=learned + reads + masks,
        logits=min(plan.aim.chunk, tokens) * 4 * 6 * config.vocab_size,
    )
