"""Other people's drafters that see: ViSpec, its NeMo port, and MSD.

ViSpec's two linear layers on the state are one here: fc [e; img_fc [h; g]] is linear in h and g, so
fc reads [e; h] with folded weights, and what a picture's vector g adds is a bias worked out once a
picture. MSD's files are EAGLE-1's: what is its own is that pictures' slots are their embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mmspec.core.errors import ConfigError
from mmspec.text.eagle_checkpoint import read_tensors
from mmspec.text.eagle_published import find, shape_of, take_over
from mmspec.vision.sight import SightConfig
from mmspec.vision.vispec_network import VispecConfig, VispecNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

_READERS = {"imadpt": "q", "img_adaptor": "query"}  # ViSpec's own, NeMo's; and their queries' name
_KEPT = ("k_proj.weight", "v_proj.weight", "k_proj.bias", "v_proj.bias", "o_proj.weight")


def load_published(folder: Path, target_layers: int | None) -> VispecNetwork:
    """Read a published checkpoint.

    Args:
        target_layers: decoder layers of the target; these layouts read the last.

    Raises:
        ConfigError: not a layout we know, or tensors missing, left over or misshapen (all listed).
    """
    raw = {name.removeprefix("model."): value for name, value in read_tensors(folder).items()}
    own = {n: v for n, v in raw.items() if n.split(".")[0] in {"img_fc", *_READERS}}
    found = find(folder, {name: value for name, value in raw.items() if name not in own})
    if found.wide:
        raise found.wrong("a text drafter of EAGLE-3's kind: it sees no pictures")
    body = shape_of(found, target_layers)
    tensors = dict(found.tensors)
    if own:
        sight = _sight(folder, own)
        tensors |= _reader(folder, own) | _folded(folder, own, tensors)
    else:
        sight = SightConfig(how="keep", tokens=0, glance=False)
    try:
        config = VispecConfig(**msgspec.structs.asdict(body), sight=sight)
    except ValueError as error:
        raise found.wrong(str(error)) from error
    return take_over(VispecNetwork(config), found, tensors)


def _part(own: Mapping[str, Tensor]) -> str:
    """What the reader is called."""
    return next((name.split(".")[0] for name in own if not name.startswith("img_fc")), "imadpt")


def _query(folder: Path, own: Mapping[str, Tensor]) -> Tensor:
    part = _part(own)
    name = f"{part}.{_READERS[part]}"
    if name not in own or own[name].ndim != 3:
        shape = tuple(own[name].shape) if name in own else "not there"
        raise ConfigError(
            f"drafter checkpoint {folder}: {name} is {shape}, not [queries, heads, D]"
        )
    return own[name]


def _sight(folder: Path, own: Mapping[str, Tensor]) -> SightConfig:
    """All queries but the last give tokens; that one gives the vector."""
    tokens = len(_query(folder, own)) - 1
    return SightConfig(
        how="resample" if tokens else "none",
        tokens=tokens,
        glance=True,
        keys="embeds",
        plain=True,
        key_bias=f"{_part(own)}.k_proj.bias" in own,
    )


def _reader(folder: Path, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reader's tensors under our names; what we do not know keeps its own."""
    part = _part(own)
    told = {"sight.query": _query(folder, own)}
    for name, value in own.items():
        rest = name.removeprefix(f"{part}.")
        if rest in _KEPT and rest != name:
            told[f"sight.{rest}"] = value
        elif name not in {f"{part}.{_READERS[part]}", "img_fc.weight", "img_fc.bias"}:
            told[f"their {name}"] = value
    return told


def _folded(
    folder: Path, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """``fc`` and ``img_fc`` as one layer and the vector's own, worked out in float64."""
    weight, inner = tensors.get("fc.weight"), own.get("img_fc.weight")
    hidden = 0 if weight is None else weight.shape[0]
    for name, value in (("fc.weight", weight), ("img_fc.weight", inner)):
        if value is None or tuple(value.shape) != (hidden, 2 * hidden):
            shape = None if value is None else tuple(value.shape)
            raise ConfigError(f"drafter checkpoint {folder}: {name} is {shape}, not [H, 2 H]")
    assert weight is not None
    assert inner is not None
    dtype = weight.dtype
    embed, state = weight.double().split(hidden, 1)
    own_state, glance = inner.double().split(hidden, 1)
    told = {
        "fc.weight": embed.new_empty(weight.shape),
        "sight.lean.weight": (state @ glance).to(dtype),
    }
    told["fc.weight"][:, :hidden], told["fc.weight"][:, hidden:] = embed, state @ own_state
    told["fc.weight"] = told["fc.weight"].to(dtype)
    if "img_fc.bias" in own or "fc.bias" in tensors:
        bias = embed.new_zeros(hidden)
        bias += tensors["fc.bias"].double() if "fc.bias" in tensors else 0
        bias += state @ own["img_fc.bias"].double() if "img_fc.bias" in own else 0
        told["fc.bias"] = bias.to(dtype)
    return told
