"""The checkpoint folder of a drafter that sees: config.json and model.safetensors, strict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mmspec.text.eagle_checkpoint import fill, read_manifest, read_tensors, write
from mmspec.vision.vispec_network import VispecConfig, VispecNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

Positions = Literal["index", "compact"]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What config.json says; as a feature drafter's, with its own address and its sight.

    ``positions``: ``index``, a token's place in its text, whatever was left out before it;
    ``compact``: its place among the drafter's own slots.
    """

    network: VispecConfig
    layers: tuple[int, ...]
    address: Literal["vision.vispec"] = "vision.vispec"
    positions: Positions = "index"
    tokenizer: str = ""
    training: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if self.layers != self.network.layers:
            raise ValueError("layers and network.layers differ")
        if (self.positions == "compact") != self.network.sight.compact:
            raise ValueError("positions and network.sight.compact differ")


def save_checkpoint(
    folder: Path,
    network: VispecNetwork,
    *,
    tokenizer: str = "",
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a folder; ``dtype`` is that of the weights on disk, None: as they are."""
    config = network.config
    told = Manifest(
        network=config, layers=config.layers, tokenizer=tokenizer, training=dict(training or {}),
        positions="compact" if config.sight.compact else "index",
    )  # fmt: skip
    write(folder, told, network, dtype)


def load_checkpoint(folder: Path) -> VispecNetwork:
    """Read a folder that :func:`save_checkpoint` wrote, in the dtype it was written in.

    Raises:
        ConfigError: config.json or the tensors are not what they should be; every wrong tensor
            is named.
    """
    network = VispecNetwork(read_manifest(folder, Manifest).network)
    fill(network, read_tensors(folder), folder)
    return network
