"""A folder to the network of a drafter that sees, whoever wrote it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mmspec.core.errors import ConfigError
from mmspec.vision.vispec_checkpoint import load_checkpoint
from mmspec.vision.vispec_published import load_published

if TYPE_CHECKING:
    from pathlib import Path

    from mmspec.vision.vispec_network import VispecNetwork


def load_network(folder: Path, target_layers: int | None) -> VispecNetwork:
    """Read our own layout, which states its address, or a published one.

    Args:
        target_layers: decoder layers of the target, if there is one.

    Raises:
        ConfigError: the folder holds no drafter that sees that we can read.
    """
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"no drafter at {folder}: {error}") from error
    if isinstance(told, dict) and "address" in told:
        return load_checkpoint(folder)
    return load_published(folder, target_layers)
