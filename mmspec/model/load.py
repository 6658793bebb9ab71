"""A folder or hub id to a Target and its Processor."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationConfig,
)

from mmspec.core.errors import ConfigError
from mmspec.model.families import text
from mmspec.model.families.find import refuse_unsupported
from mmspec.model.processor import Processor, default_name
from mmspec.model.target import Target

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from mmspec.core.config import ModelConfig

BUNDLED = ("nano",)


def locate(path: str) -> str:
    """The folder of a bundled model, or the path as it is."""
    if path in BUNDLED:
        return str(resources.files("mmspec.zoo").joinpath(path))
    return path


def load_target(config: ModelConfig) -> tuple[Target, Processor]:
    """Read weights, tokenizer and image processor.

    Raises:
        ConfigError: nothing to read there. UnsupportedModelError: a family we do not serve.
    """
    folder = locate(config.path)
    try:
        spec = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no model at {config.path}: {error}") from error
    refuse_unsupported(spec)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    kind = AutoModelForCausalLM if spec.model_type in text.TYPES else AutoModelForImageTextToText
    dtype = "auto" if config.dtype == "auto" else getattr(torch, config.dtype)
    model = kind.from_pretrained(folder, dtype=dtype).to(config.device)
    stops = stop_tokens(folder, spec)
    target = Target(
        model,
        stop_tokens=stops,
        numerics=config.numerics,
        max_context=config.max_context,
    )
    processor = Processor.load(
        folder,
        name=config.name or default_name(config.path),
        vocabulary=target.facts.vocabulary,
        stop_tokens=stops,
    )
    return target, processor


def stop_tokens(folder: str, spec: PretrainedConfig) -> frozenset[int]:
    """Ids that end a text: the generation config's, else the model config's."""
    try:
        said = GenerationConfig.from_pretrained(folder).eos_token_id
    except OSError:
        said = None
    if said is None:
        said = spec.get_text_config().eos_token_id
    if said is None:
        return frozenset()
    return frozenset([said] if isinstance(said, int) else said)
