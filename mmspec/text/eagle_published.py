"""Other people's feature drafters: EAGLE-1 and 2, EAGLE-3, and ``speculators``.

Sizes come from the tensors. What tensors cannot tell (heads, rope, epsilon) must stand in the
checkpoint's config.json and must agree with them; nothing is assumed, but for a rope base of
10 000, which every reader of these files assumes where none is given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mmspec.core.errors import ConfigError
from mmspec.text.eagle_checkpoint import fill, read_tensors
from mmspec.text.eagle_config import EagleConfig, Rope
from mmspec.text.eagle_network import EagleNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

Network = TypeVar("Network", bound=EagleNetwork)
_PARTS = {
    "q_proj": "self_attn.q_proj", "k_proj": "self_attn.k_proj", "v_proj": "self_attn.v_proj",
    "o_proj": "self_attn.o_proj", "q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm",
    "gate_proj": "mlp.gate_proj", "up_proj": "mlp.up_proj", "down_proj": "mlp.down_proj",
    "between_norm": "post_attention_layernorm", "embedding_norm": "input_layernorm",
    "state_norm": "hidden_norm",
}  # fmt: skip
_AROUND = {"fc": "fc", "norm": "norm", "head": "lm_head", "embedding": "embed_tokens"}


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint under our names.

    Attributes:
        tensors: by our names. shown: our name -> theirs. settings: the layer's own config.
        prefix: what comes before the names of the layer's parts. wide: EAGLE-3's layer.
    """

    folder: Path
    tensors: Mapping[str, Tensor]
    shown: Mapping[str, str]
    settings: Mapping[str, Any]
    outer: Mapping[str, Any]
    prefix: str
    wide: bool

    def wrong(self, what: str) -> ConfigError:
        """An error about this folder."""
        return ConfigError(f"drafter checkpoint {self.folder}: {what}")

    def size(self, name: str, axis: int) -> int:
        """One dimension of one tensor."""
        if name not in self.tensors:
            raise self.wrong(f"missing {self.shown.get(name, name)}")
        shape = self.tensors[name].shape
        if len(shape) <= axis:
            raise self.wrong(f"{self.shown.get(name, name)} is {tuple(shape)}")
        return shape[axis]

    def setting(self, name: str) -> Any:
        """A setting that must be there."""
        if self.settings.get(name) is None:
            raise self.wrong(f"config.json does not say {name}")
        return self.settings[name]


def load_published(folder: Path, target_layers: int | None) -> EagleNetwork:
    """Read a published checkpoint.

    Args:
        target_layers: decoder layers of the target, from which the layouts derive what they read.

    Raises:
        ConfigError: not a layout we know, or tensors missing, left over or misshapen (all listed).
    """
    found = find(folder, read_tensors(folder))
    network = EagleNetwork(shape_of(found, target_layers))
    return take_over(network, found, dict(found.tensors))


def take_over(network: Network, found: Found, tensors: dict[str, Tensor]) -> Network:
    """Put a found checkpoint's tensors, by our names, into a network; all and nothing else.

    Raises:
        ConfigError: tensors missing, left over or misshapen (all listed).
    """
    if network.config.draft_vocabulary is None:  # some name every id of the target once
        tensors = {name: value for name, value in tensors.items() if name not in {"d2t", "t2d"}}
    shown = {name: _theirs(name, found.prefix) for name in network.state_dict()}
    fill(network, tensors, found.folder, shown | dict(found.shown))
    return network


def find(folder: Path, raw: Mapping[str, Tensor]) -> Found:
    """The tensors of a folder under our names, and the two levels of settings.

    Raises:
        ConfigError: no config.json, or that of a kind we do not know.
    """
    try:
        outer = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"drafter checkpoint {folder}: config.json: {error}") from error
    kind = outer.get("speculators_model_type", "eagle3")
    if kind != "eagle3":
        raise ConfigError(f"drafter checkpoint {folder}: speculators of kind {kind!r} are not read")
    prefix = "midlayer" if any(name.startswith("midlayer.") for name in raw) else "layers.0"
    names = {_theirs(part, prefix): part for part in (*_PARTS, *_AROUND)}
    tensors, shown = {}, {}
    for theirs, value in raw.items():
        if theirs.endswith("rotary_emb.inv_freq"):  # a table that old savers kept
            continue
        module, _, kind = theirs.rpartition(".")
        known = f"{names[module]}.{kind}" if module in names else None
        ours = known or (theirs if theirs in {"d2t", "t2d"} else f"their {theirs}")
        tensors[ours], shown[ours] = value, theirs
    settings = outer.get("transformer_layer_config", outer)
    wide = "state_norm.weight" in tensors
    if not wide and "embedding_norm.weight" in tensors:  # a narrow layer's own input norm
        tensors["state_norm.weight"] = tensors.pop("embedding_norm.weight")
        shown["state_norm.weight"] = shown.pop("embedding_norm.weight")
    return Found(folder, tensors, shown, settings, outer, prefix, wide)


def _theirs(ours: str, prefix: str) -> str:
    """What a layout calls one of our modules or tensors."""
    part, dot, rest = ours.partition(".")
    if part in _PARTS:
        return f"{prefix}.{_PARTS[part]}{dot}{rest}"
    return f"{_AROUND.get(part, part)}{dot}{rest}"


def shape_of(found: Found, target_layers: int | None) -> EagleConfig:
    """The network's shape, from tensors wherever they tell.

    Raises:
        ConfigError: tensors and settings disagree, or do not say enough.
    """
    hidden = found.size("between_norm.weight", 0)
    outer = found.size("q_proj.weight", 1) - hidden if found.wide else hidden
    heads = int(found.setting("num_attention_heads"))
    rows = found.size("q_proj.weight", 0)
    dim = int(found.settings.get("head_dim") or rows // heads)
    kv_heads = found.size("k_proj.weight", 0) // dim
    _agree(found, "num_attention_heads", rows / dim, heads)
    _agree(found, "num_key_value_heads", found.settings.get("num_key_value_heads"), kv_heads)
    own_head, own_embedding = "head.weight" in found.tensors, "embedding.weight" in found.tensors
    vocabulary = _vocabulary(found)
    said = found.size("head.weight", 0) if own_head else vocabulary
    reduced = said < vocabulary
    try:
        return EagleConfig(
            hidden=hidden,
            target_hidden=outer,
            layers=_layers(found, outer, target_layers),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=dim,
            intermediate=found.size("gate_proj.weight", 0),
            vocabulary=vocabulary,
            draft_vocabulary=said if reduced else None,
            eps=float(found.setting("rms_norm_eps")),
            rope=rope_of(found.folder, found.settings),
            wide=found.wide,
            input_norm=not found.wide and "state_norm.weight" in found.tensors,
            fc_bias="fc.bias" in found.tensors,
            attention_bias="q_proj.bias" in found.tensors,
            output_bias="o_proj.bias" in found.tensors,
            mlp_bias="gate_proj.bias" in found.tensors,
            head_norms="q_norm.weight" in found.tensors,
            final_norm="norm.weight" in found.tensors or found.wide,
            own_head=own_head or found.wide,
            own_embedding=own_embedding,
            norm_before_residual=bool(found.outer.get("norm_before_residual", False)),
            normed_features=not found.wide,
            context=context_of(found.settings),
        )
    except ValueError as error:
        raise found.wrong(str(error)) from error


def _agree(found: Found, name: str, said: float | None, seen: float) -> None:
    if said is not None and said != seen:
        raise found.wrong(f"config.json and the tensors disagree about {name}: {said}, {seen}")


def _vocabulary(found: Found) -> int:
    """The target's ids, as the mask, the embedding or else the config tells them."""
    for name in ("t2d", "embedding.weight"):
        if name in found.tensors:
            return found.size(name, 0)
    return int(found.setting("vocab_size"))


def _layers(found: Found, outer: int, target_layers: int | None) -> tuple[int, ...]:
    """Layers whose outputs are read. These layouts count the inputs of layers, hence minus one."""
    nested = found.outer.get("eagle_config") or {}
    name = "eagle_aux_hidden_state_layer_ids"
    ids = found.outer.get(name) or nested.get(name)
    if found.wide and ids is not None:
        layers = tuple(int(id) - 1 for id in ids)
    elif target_layers is None:
        raise found.wrong("which layers it reads is told by its target, and there is none")
    elif found.wide:
        layers = (1, target_layers // 2 - 1, target_layers - 4)
    else:
        return (target_layers - 1,)
    if found.size("fc.weight", 1) != len(layers) * outer:
        raise found.wrong(
            f"fc.weight reads {found.size('fc.weight', 1)}, {len(layers)} layers give "
            f"{len(layers) * outer}"
        )
    return layers


def context_of(settings: Mapping[str, Any]) -> int | None:
    """Most tokens of a text that a layer was made for."""
    told = settings.get("max_position_embeddings")
    return None if told is None else int(told)


def rope_of(folder: Path, settings: Mapping[str, Any]) -> Rope:
    """Rotary positions, of kinds that mean the same on one axis.

    Raises:
        ConfigError: of another kind.
    """
    told = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    theta = settings.get("rope_theta", told.get("rope_theta", 10_000.0))
    kind = told.get("rope_type", told.get("type", "default"))
    if "mrope_section" in told or kind not in {"default", "linear", "llama3"}:
        raise ConfigError(f"drafter checkpoint {folder}: rope {told} is not supported")
    if kind == "default":
        return Rope(theta=theta)
    if kind == "linear":
        return Rope(kind=kind, theta=theta, factor=told["factor"])
    return Rope(
        kind=kind, theta=theta, factor=told["factor"], low=told["low_freq_factor"],
        high=told["high_freq_factor"], original=told["original_max_position_embeddings"],
    )  # fmt: skip
