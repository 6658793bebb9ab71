"""The checkpoint folder of a drafter of bounded memory: config.json and model.safetensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mmspec.longctx.longspec_config import LongspecConfig
from mmspec.longctx.longspec_network import LongspecNetwork
from mmspec.text.eagle_checkpoint import fill, read_manifest, read_tensors, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What config.json says.

    ``positions``: ``rotary``, queries to the target's keys are turned as the target turns them;
    the drafter's own keys by places in the text.
    """

    network: LongspecConfig
    address: Literal["longctx.longspec"] = "longctx.longspec"
    positions: Literal["rotary"] = "rotary"
    tokenizer: str = ""
    training: dict[str, Any] = {}


def save_checkpoint(
    folder: Path,
    network: LongspecNetwork,
    *,
    tokenizer: str = "",
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a folder; ``dtype`` is that of the weights on disk, None: as they are."""
    told = Manifest(network=network.config, tokenizer=tokenizer, training=dict(training or {}))
    write(folder, told, network, dtype)


def load_checkpoint(folder: Path) -> LongspecNetwork:
    """Read a folder that :func:`save_checkpoint` wrote, in the dtype it was written in.

    Raises:
        ConfigError: config.json or the tensors are not what they should be; every wrong tensor
            is named.
    """
    network = LongspecNetwork(read_manifest(folder, Manifest).network)
    fill(network, read_tensors(folder), folder)
    return network
