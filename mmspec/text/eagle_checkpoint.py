"""A feature drafter's checkpoint folder: config.json and model.safetensors, strict both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mmspec.core.errors import ConfigError
from mmspec.text.eagle_config import EagleConfig
from mmspec.text.eagle_network import EagleNetwork
from mmspec.text.voice import Voice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Told = TypeVar("Told", bound=msgspec.Struct)
N = TypeVar("N", bound=Voice)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What config.json says.

    Attributes:
        address: the drafter that reads the folder.
        positions: ``index``, a token's place in its text whatever the target's rotary axes.
        layers: decoder layers of the target whose outputs are read.
        tokenizer: hash of the tokenizer it was trained with; empty when unknown.
        training: where the weights come from, as the trainer tells it.
        network: the shape.
    """

    network: EagleConfig
    layers: tuple[int, ...]
    address: Literal["text.eagle"] = "text.eagle"
    positions: Literal["index"] = "index"
    tokenizer: str = ""
    training: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if self.layers != self.network.layers:
            raise ValueError("layers and network.layers differ")


def save_checkpoint(
    folder: Path,
    network: EagleNetwork,
    *,
    tokenizer: str = "",
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a folder; ``dtype`` is that of the weights on disk, None: as they are."""
    config = network.config
    told = Manifest(
        network=config, layers=config.layers, tokenizer=tokenizer, training=dict(training or {})
    )
    write(folder, told, network, dtype)


def write(folder: Path, told: msgspec.Struct, network: Voice, dtype: torch.dtype | None) -> None:
    """Write a manifest and a network's weights, in ``dtype`` (None: as they are)."""
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(told), indent=2)
    (folder / "config.json").write_bytes(text + b"\n")
    tensors = {name: _stored(value, dtype) for name, value in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")


def read_manifest(folder: Path, kind: type[Told]) -> Told:
    """What config.json says.

    Raises:
        ConfigError: it is not there, or not of this kind.
    """
    try:
        return msgspec.json.decode((folder / "config.json").read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"drafter checkpoint {folder}: config.json: {error}") from error


def load_checkpoint(folder: Path) -> tuple[EagleNetwork, Manifest]:
    """Read a folder that :func:`save_checkpoint` wrote, in the dtype it was written in.

    Raises:
        ConfigError: config.json or the tensors are not what they should be; every wrong tensor
            is named.
    """
    told = read_manifest(folder, Manifest)
    return fill(EagleNetwork(told.network), read_tensors(folder), folder), told


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder: its safetensors files, or EAGLE's own pytorch_model.bin.

    Raises:
        ConfigError: there are none, or they cannot be read.
    """
    found: dict[str, torch.Tensor] = {}
    try:
        for path in sorted(folder.glob("*.safetensors")):
            found |= load_file(path)
        if not found:
            for path in sorted(folder.glob("*.bin")):
                found |= torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise ConfigError(f"drafter checkpoint {folder}: {error}") from error
    if not found:
        raise ConfigError(f"drafter checkpoint {folder}: no tensors there")
    return found


def fill(
    network: N,
    tensors: Mapping[str, torch.Tensor],
    folder: Path,
    shown: Mapping[str, str] | None = None,
) -> N:
    """Put ``tensors`` into ``network``, all of them and nothing else.

    Args:
        shown: what the checkpoint calls our names, for the error.

    Raises:
        ConfigError: tensors are missing, left over or misshapen; all are listed.
    """
    shown, wanted = shown or {}, network.state_dict()
    wrong = [f"missing {shown.get(name, name)}" for name in wanted if name not in tensors]
    wrong += [f"unknown {shown.get(name, name)}" for name in tensors if name not in wanted]
    for name, value in wanted.items():
        if name in tensors and tensors[name].shape != value.shape:
            have, want = tuple(tensors[name].shape), tuple(value.shape)
            wrong.append(f"{shown.get(name, name)} is {have}, not {want}")
    if wrong:
        raise ConfigError(f"drafter checkpoint {folder}: {'; '.join(sorted(wrong))}")
    dtype = tensors["q_proj.weight"].dtype
    frequencies = network.frequencies
    network.to(dtype).load_state_dict(dict(tensors))
    network.frequencies = frequencies
    _check_ids(network, folder)
    return network


def _check_ids(network: Voice, folder: Path) -> None:
    """Draft ids name different target ids inside the vocabulary, those that the mask tells."""
    if network.shape.draft_vocabulary is None:
        return
    ids = network.target_ids()
    inside = bool(((ids >= 0) & (ids < network.shape.vocabulary)).all())
    said = set(ids.tolist()) if inside else set()
    if len(said) != len(ids) or said != set(network.t2d.nonzero().flatten().tolist()):
        raise ConfigError(f"drafter checkpoint {folder}: d2t and t2d do not fit each other")


def _stored(value: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """A weight as it goes to disk: on the processor, in ``dtype`` if it is a real number."""
    value = value.detach().cpu().contiguous()
    return value if dtype is None or not value.is_floating_point() else value.to(dtype)
