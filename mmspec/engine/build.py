"""Config to Engine; the only file that loads drafters, by address."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from mmspec.core.errors import ConfigError
from mmspec.engine.engine import Engine
from mmspec.engine.warm import warm
from mmspec.model.load import load_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec.core.config import Config
    from mmspec.core.drafter import Drafter, Facts
    from mmspec.core.ranker import Ranker
    from mmspec.model.processor import Processor

WINGS = ("text", "vision", "longctx", "retrieval")
RANKERS = "mmspec.retrieval"


def build(config: Config) -> tuple[Engine, Processor]:
    """Load the target and its drafters, and run one throwaway request to compile and touch all.

    Raises:
        ConfigError: something the configuration names does not exist or does not fit.
    """
    target, processor = load_target(config.model)
    facts = replace(target.facts, pieces=processor.pieces)
    engine = Engine(target, config.engine, build_drafters(config.drafters, facts))
    warm(engine)
    return engine, processor


def build_drafters(
    tables: Mapping[str, Mapping[str, Mapping[str, object]]], facts: Facts
) -> dict[str, Drafter]:
    """Drafters by address: ``[drafters.retrieval.suffix]`` is ``mmspec/retrieval/suffix.py``.

    Raises:
        ConfigError: no drafter lives at an address, or it does not know an option.
    """
    facts = replace(facts, ranker=facts.ranker or build_ranker)
    return {
        f"{wing}.{name}": build_drafter(f"{wing}.{name}", options, facts)
        for wing, drafters in tables.items()
        for name, options in drafters.items()
    }


def build_ranker(name: str) -> Ranker:
    """What ranks passages, by address like a drafter: wings do not know each other.

    Args:
        name: ``lexical``, or with what it is made from, ``dense:folder``.

    Raises:
        ConfigError: there is no such ranker, or what it needs is not there.
    """
    kind, _, detail = name.partition(":")
    module_name = f"{RANKERS}.{kind}"
    known = kind.isidentifier() and importlib.util.find_spec(module_name) is not None
    module = importlib.import_module(module_name) if known else None
    if module is None or not hasattr(module, "ranker"):
        raise ConfigError(f"no ranker {name!r}: there is no mmspec/retrieval/{kind}.py that ranks")
    made: Ranker = module.ranker(detail)
    return made


def build_drafter(address: str, options: Mapping[str, object], facts: Facts) -> Drafter:
    """One drafter, from its address and the options its own ``Config`` describes."""
    wing, _, name = address.partition(".")
    module_name = f"mmspec.{wing}.{name}"
    if wing not in WINGS or not name.isidentifier() or not importlib.util.find_spec(module_name):
        raise ConfigError(f"no drafter at [drafters.{address}]")
    module = importlib.import_module(module_name)
    if not hasattr(module, "build") or not hasattr(module, "Config"):
        raise ConfigError(f"mmspec/{wing}/{name}.py is not a drafter")
    try:
        own = msgspec.convert(dict(options), module.Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"[drafters.{address}]: {error}") from error
    drafter: Drafter = module.build(own, facts)
    return drafter
