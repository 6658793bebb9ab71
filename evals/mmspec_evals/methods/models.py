"""What several methods share: one engine, one plain transformers model, one processor."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from transformers import GenerationConfig

from mmspec.core.errors import MmspecError
from mmspec.engine.build import build
from mmspec.model.load import load_model, load_processor, load_spec
from mmspec_evals.errors import PlanError

if TYPE_CHECKING:
    from mmspec.core.config import Config
    from mmspec.engine.engine import Engine
    from mmspec.model.processor import Processor

_PLENTY = 1 << 60  # bytes: more than any context takes, so that the context alone is the limit


class Models:
    """Everything loaded for a run, each when it is first asked for.

    Our engine repacks the layers of its target in place, so the transformers arms have a copy of
    their own.

    Args:
        config: of the target and the engine, as for ``mmspec serve``.
    """

    def __init__(self, config: Config) -> None:
        alone = msgspec.structs.replace(config.engine, max_sequences=1)
        self.config = msgspec.structs.replace(config, engine=alone)

    @cached_property
    def processor(self) -> Processor:
        """Tokenizer, chat template and image processor of the target.

        Raises:
            PlanError: there is no such model.
        """
        try:
            return load_processor(self.config.model)
        except MmspecError as error:
            raise PlanError(str(error)) from error

    @cached_property
    def engine(self) -> Engine:
        """Our engine, warmed up once; its cache holds one sequence of the whole context.

        Raises:
            PlanError: the configuration does not fit.
        """
        roomy = msgspec.structs.replace(self.config.engine, cache_bytes=_PLENTY)
        try:
            return build(msgspec.structs.replace(self.config, engine=roomy))[0]
        except MmspecError as error:
            raise PlanError(str(error)) from error

    @cached_property
    def plain(self) -> Any:
        """The target in transformers' own model; nothing its checkpoint wishes for is left on.

        Raises:
            PlanError: there is no such model.
        """
        return _load(self.config.model)

    @property
    def context(self) -> int:
        """Most tokens of prompt and answer."""
        own, asked = int(self._spec.max_position_embeddings), self.config.model.max_context
        return own if asked is None else min(own, asked)

    @property
    def layers(self) -> int:
        """Layers of the target's decoder."""
        return int(self._spec.num_hidden_layers)

    @cached_property
    def _spec(self) -> Any:
        """What the target's checkpoint says of its decoder; nothing is loaded for it."""
        try:
            return load_spec(self.config.model).get_text_config()
        except MmspecError as error:
            raise PlanError(str(error)) from error

    def assistant(self, path: str) -> Any:
        """A small model to draft for ``plain``, in the same arithmetic.

        Raises:
            PlanError: there is no such model.
        """
        model = msgspec.structs.replace(self.config.model, path=path)
        return _load(model)

    def close(self) -> None:
        """Let go of all that was loaded."""
        for name in ("processor", "engine", "plain"):
            self.__dict__.pop(name, None)


def _load(config: Any) -> Any:
    try:
        model = load_model(config)
    except MmspecError as error:
        raise PlanError(str(error)) from error
    # A checkpoint may ask for sampling, penalties or lengths of its own; a method may not.
    model.generation_config = GenerationConfig()
    return model
