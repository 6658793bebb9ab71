"""A feature drafter's network from its checkpoint, as it fits a target, and what its trees see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mmspec.core.errors import ConfigError
from mmspec.model.load import locate
from mmspec.model.target import Target
from mmspec.text.asked_pages import AskedPages, Asking, asked_pages
from mmspec.text.block_rows import BlockRows
from mmspec.text.eagle_rows import EagleRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.core.drafter import Facts
    from mmspec.text.eagle_network import EagleNetwork


def pages_for(address: str, options: Asking, facts: Facts, rows: EagleRows) -> AskedPages:
    """What a drafter's trees see.

    Raises:
        ConfigError: its network or its target cannot do with a part of a text.
    """
    if options.pages and rows.config.parallel > 1:
        raise ConfigError(f"drafter {address}: pages are for networks that say a token a pass")
    return asked_pages(address, options, facts.model)


def rows_for(
    address: str, load: Callable[[Path, int | None], EagleNetwork], path: str, facts: Facts
) -> EagleRows:
    """A drafter's network from its checkpoint, lent what it shares with its target.

    Raises:
        ConfigError: the checkpoint is not one, or does not fit the target.
    """
    target = facts.model if isinstance(facts.model, Target) else None
    network = load(Path(locate(path)), None if target is None else target.layers)
    _check_fit(address, network, facts, target)
    made = EagleRows if network.config.parallel == 1 else BlockRows
    if target is None:
        weight = network.fc.weight
        return made(network, weight.dtype, weight.device)
    network.lend(target.embed, target.logits, target.family.decoder.norm)
    return made(network, target.dtype, target.device)


def _check_fit(address: str, network: EagleNetwork, facts: Facts, target: Target | None) -> None:
    """Refuse a drafter of another target."""
    shape, wrong = network.config, []
    lent = not (shape.own_embedding and shape.own_head)
    if lent and shape.vocabulary != facts.vocabulary:
        wrong.append(f"it knows {shape.vocabulary} ids, the target {facts.vocabulary}")
    if target is None:
        if lent or shape.normed_features:
            wrong.append("it shares weights with its target, and there is none")
    else:
        width = target.embed(torch.zeros(1, dtype=torch.int64)).shape[-1]
        if width != shape.target_hidden:
            wrong.append(f"it reads features of width {shape.target_hidden}, the target's: {width}")
        if max(shape.layers) >= target.layers:
            wrong.append(f"it reads layer {max(shape.layers)}, the target has {target.layers}")
    if wrong:
        raise ConfigError(f"drafter {address} does not fit the target: {'; '.join(wrong)}")
