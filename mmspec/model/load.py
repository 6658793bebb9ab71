"""A folder or hub id to a Target and its Processor."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
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
    from transformers import PretrainedConfig, PreTrainedModel

    from mmspec.core.config import ModelConfig


def locate(path: str) -> str:
    """The folder of a bundled model, or the path as it is."""
    bundled = resources.files("mmspec.zoo").joinpath(path)
    if Path(path).name == path and bundled.joinpath("config.json").is_file():
        return str(bundled)
    return path


def load_target(config: ModelConfig) -> tuple[Target, Processor]:
    """Read weights, tokenizer and image processor.

    Raises:
        ConfigError: nothing to read there. UnsupportedModelError: a family we do not serve.
    """
    model = load_model(config)
    target = Target(
        model,
        stop_tokens=stop_tokens(locate(config.path), model.config),
        numerics=config.numerics,
        max_context=config.max_context,
    )
    return target, load_processor(config)


def load_model(config: ModelConfig) -> PreTrainedModel:
    """The weights in transformers' own model, as yet untouched.

    Raises:
        ConfigError: nothing to read there. UnsupportedModelError: a family we do not serve.
    """
    spec = load_spec(config)
    refuse_unsupported(spec)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    kind = AutoModelForCausalLM if spec.model_type in text.TYPES else AutoModelForImageTextToText
    dtype = "auto" if config.dtype == "auto" else getattr(torch, config.dtype)
    return kind.from_pretrained(locate(config.path), dtype=dtype).to(config.device).eval()


def load_processor(config: ModelConfig) -> Processor:
    """The tokenizer, chat template and image processor alone.

    Raises:
        ConfigError: nothing to read there.
    """
    spec, folder = load_spec(config), locate(config.path)
    return Processor.load(
        folder,
        name=config.name or default_name(config.path),
        vocabulary=spec.get_text_config().vocab_size,
        stop_tokens=stop_tokens(folder, spec),
    )


def load_spec(config: ModelConfig) -> PretrainedConfig:
    """The model's own configuration.

    Raises:
        ConfigError: nothing to read there.
    """
    try:
        return AutoConfig.from_pretrained(locate(config.path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"no model at {config.path}: {error}") from error


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
