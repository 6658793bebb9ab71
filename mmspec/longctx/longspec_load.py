"""A folder to the network of a drafter of bounded memory, whoever wrote it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mmspec.core.errors import ConfigError
from mmspec.longctx.longspec_checkpoint import load_checkpoint
from mmspec.longctx.longspec_published import load_published

if TYPE_CHECKING:
    from pathlib import Path

    from mmspec.longctx.longspec_network import LongspecNetwork
    from mmspec.model.target import Target


def load_network(folder: Path, target: Target) -> LongspecNetwork:
    """Read our own layout, which states its address, or LongSpec's.

    Args:
        target: whose dimensions a published drafter has, and whose last full layer it reads.

    Raises:
        ConfigError: the folder holds no drafter of bounded memory that we can read.
    """
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"no drafter at {folder}: {error}") from error
    if isinstance(told, dict) and "address" in told:
        return load_checkpoint(folder)
    return load_published(folder, told, target)
