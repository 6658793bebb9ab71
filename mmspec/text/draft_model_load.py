"""A path to a draft model that fits its target, or a clear word on why it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mmspec.core.config import ModelConfig
from mmspec.core.errors import ConfigError, UnsupportedModelError
from mmspec.model.load import load_model, load_spec
from mmspec.model.spelling import spelling
from mmspec.model.target import Target

if TYPE_CHECKING:
    from mmspec.core.drafter import Facts


def load_draft_model(
    path: str, facts: Facts, target: Target | None, drafter: str = "text.draft_model"
) -> Target:
    """Read a model to draft for ``target``, in its arithmetic and on its device.

    Args:
        path: a folder, a hub id, or the name of a bundled model.
        target: None leaves dtype to the checkpoint, on CPU. drafter: whose model it is, for errors.

    Raises:
        ConfigError: no model there, a family we do not run, another tokenizer or vocabulary.
    """
    place = {"path": path}
    if target is not None:
        dtype = str(target.dtype).removeprefix("torch.")
        place |= {"dtype": dtype, "device": str(target.device)}
    try:
        config = msgspec.convert(place, ModelConfig)
        _check_fit(config, facts, target, drafter)
        return Target(load_model(config))
    except (OSError, ValueError, UnsupportedModelError) as error:
        raise ConfigError(f"drafter {drafter}: no model to run at {path}: {error}") from error


def _check_fit(config: ModelConfig, facts: Facts, target: Target | None, drafter: str) -> None:
    """Refuse a model that speaks of other tokens, before any weight is read.

    Families pad their vocabularies differently from size to size, so unequal sizes are fine where
    both tokenizers are known and say the same.
    """
    spec = load_spec(config)
    ours = spelling(spec.name_or_path)
    theirs = None if target is None else spelling(target.source)
    if ours is not None and theirs is not None:
        if ours != theirs:
            raise ConfigError(
                f"drafter {drafter} does not fit the target: the tokenizer at {config.path} "
                f"gives its ids other meanings"
            )
        return
    known = spec.get_text_config().vocab_size
    if known != facts.vocabulary:
        raise ConfigError(
            f"drafter {drafter} does not fit the target: it knows {known} ids, the target "
            f"{facts.vocabulary}"
        )
