"""LongSpec's own checkpoints (sail-sg/LongSpec): one layer, twenty tensors without a prefix.

All dimensions are the target's. Its second attention has keys and values of its own that nothing
reads: they must be there, and are left out. Its first attention turns as the target does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec.core.errors import ConfigError
from mmspec.longctx.longspec_config import LongspecConfig
from mmspec.longctx.longspec_network import LongspecNetwork
from mmspec.text.eagle_checkpoint import fill, read_tensors
from mmspec.text.eagle_published import context_of, rope_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from mmspec.model.target import Target

_NORMS = {
    "embedding_norm": "input_layernorm",
    "cross_norm": "post_self_attention_layernorm",
    "between_norm": "post_cross_attention_layernorm",
}
_LINEAR = {
    "q_proj": "self_attn.q_proj", "k_proj": "self_attn.k_proj", "v_proj": "self_attn.v_proj",
    "o_proj": "self_attn.o_proj", "cross_q": "cross_attn.q_proj", "cross_o": "cross_attn.o_proj",
    "gate_proj": "mlp.gate_proj", "up_proj": "mlp.up_proj", "down_proj": "mlp.down_proj",
}  # fmt: skip
_DEAD = ("cross_attn.k_proj", "cross_attn.v_proj")
SPAN = 513  # its code's window of 512 counts what stands before the token itself


def load_published(folder: Path, told: Mapping[str, Any], target: Target) -> LongspecNetwork:
    """Read LongSpec's checkpoint.

    Args:
        told: its config.json, the target's own configuration.

    Raises:
        ConfigError: tensors missing, left over or misshapen (all listed), or settings that are
            not said.
    """
    raw = read_tensors(folder)
    theirs = {f"{their}.weight": f"{our}.weight" for our, their in (_NORMS | _LINEAR).items()}
    biased = ("q_proj", "k_proj", "v_proj", "cross_q")
    theirs |= {f"{_LINEAR[our]}.bias": f"{our}.bias" for our in biased}
    network = LongspecNetwork(_shape(folder, told, target, raw))
    _check_dead(folder, raw, network.config)
    tensors = {
        theirs.get(name, f"their {name}"): value
        for name, value in raw.items()
        if name.rpartition(".")[0] not in _DEAD
    }
    return fill(network, tensors, folder, {ours: their for their, ours in theirs.items()})


def _shape(
    folder: Path, told: Mapping[str, Any], target: Target, raw: Mapping[str, Tensor]
) -> LongspecConfig:
    missing = [name for name in ("num_attention_heads", "rms_norm_eps") if told.get(name) is None]
    up = raw.get("mlp.up_proj.weight")
    if missing or up is None:
        what = f"config.json does not say {missing[0]}" if missing else "missing mlp.up_proj.weight"
        raise ConfigError(f"drafter checkpoint {folder}: {what}")
    layer = next((k for k in reversed(range(target.layers)) if target.sliding(k) is None), None)
    if layer is None:
        raise ConfigError(f"drafter checkpoint {folder}: the target has no layer that sees all")
    heads: int = told["num_attention_heads"]
    # Its own code takes hidden / heads for a head's width, which is the target's only where no
    # head_dim is given; the target knows.
    return LongspecConfig(
        hidden=up.shape[1], target_hidden=up.shape[1], heads=heads, kv_heads=target.kv_heads,
        head_dim=target.head_dim, intermediate=up.shape[0], vocabulary=target.facts.vocabulary,
        eps=told["rms_norm_eps"], rope=rope_of(folder, told), final_norm=False, own_head=False,
        reads=layer, cross_heads=heads, target_kv_heads=target.kv_heads,
        target_head_dim=target.head_dim, span=SPAN, attention_bias=True,
        context=context_of(told),
    )  # fmt: skip


def _check_dead(folder: Path, raw: Mapping[str, Tensor], config: LongspecConfig) -> None:
    """What nothing reads has its shape all the same, or this is another layout."""
    rows = config.kv_heads * config.head_dim
    for part in _DEAD:
        for name, shape in ((f"{part}.weight", (rows, config.hidden)), (f"{part}.bias", (rows,))):
            have = tuple(raw[name].shape) if name in raw else None
            if have != shape:
                raise ConfigError(f"drafter checkpoint {folder}: {name} is {have}, not {shape}")
