"""A new feature drafter for a target: its shape, its first weights, what training it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import torch

from mmspec.text.eagle_config import EagleConfig, Rope
from mmspec.train.guards import GuardError
from mmspec.train.memory import Memory, trained, weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mmspec.longctx.longspec_network import LongspecNetwork
    from mmspec.text.eagle_network import EagleNetwork
    from mmspec.train.capture import FrozenTarget
    from mmspec.train.eagle_stage import Plan

CALM = 0.5  # of the target's norm: a new drafter that is sure of itself is wrong at great cost


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is chosen; the rest is as in the target.

    Attributes:
        layers: target layers whose outputs are read; None: 1, L/2 - 1 and L - 4 (what enters
            layers 2, L/2 and L - 3, as in EAGLE-3).
        draft_vocabulary: ids it can say; None: all.
        intermediate: width of its MLP; None: the target's.
        window: tokens whose embeddings a slot reads. rope_base: of its rotation; None: the
            target's; a high one leaves more of a head to matching at any distance.
        parallel: tokens that one pass of it foretells.
        start: ``target`` copies the target's head and last norm and passes the last watched
            layer through; ``copying`` also looks up what followed a token before
            (``eagle_copying``); ``fresh`` draws all.
    """

    layers: tuple[int, ...] | None = None
    draft_vocabulary: int | None = None
    intermediate: int | None = None
    confidence: bool = True
    window: int = 1
    rope_base: float | None = None
    parallel: int = 1
    start: Literal["target", "copying", "fresh"] = "target"


def default_layers(count: int) -> tuple[int, ...]:
    """Three layers of a target with ``count``: near the first, the middle, near the last."""
    asked = (1, count // 2 - 1, count - 4)
    return tuple(sorted({min(max(layer, 0), count - 1) for layer in asked}))


def eagle_config(text: Any, shape: Shape) -> EagleConfig:
    """The network for a target of this text configuration.

    Raises:
        GuardError: a layer that the target does not have.
    """
    layers = shape.layers or default_layers(text.num_hidden_layers)
    if min(layers) < 0 or max(layers) >= text.num_hidden_layers:
        raise GuardError(f"feature layers {layers}: the target has {text.num_hidden_layers}")
    said = shape.draft_vocabulary
    heads = text.num_attention_heads
    return EagleConfig(
        hidden=text.hidden_size,
        target_hidden=text.hidden_size,
        layers=layers,
        heads=heads,
        kv_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
        intermediate=shape.intermediate or text.intermediate_size,
        vocabulary=text.vocab_size,
        draft_vocabulary=None if said is None or said >= text.vocab_size else said,
        eps=text.rms_norm_eps,
        rope=_rope(text) if shape.rope_base is None else Rope(theta=shape.rope_base),
        confidence=shape.confidence,
        window=shape.window,
        parallel=shape.parallel,
    )


def first_weights(network: EagleNetwork, target: FrozenTarget, kept: Tensor | None) -> None:
    """Start from the target: its head, its last norm, and its last watched layer as the state."""
    model: Any = target.model
    norm: Any = target.family.decoder.norm
    config = network.config
    with torch.no_grad():
        if network.head is not None:
            head: Tensor = model.lm_head.weight
            network.head.weight.copy_(head if kept is None else head[kept])
        if isinstance(network.norm, torch.nn.RMSNorm):
            gemma = type(norm).__name__.startswith("Gemma")  # multiplies by 1 + weight
            network.norm.weight.copy_(CALM * (norm.weight + float(gemma)))
        network.fc.weight.mul_(0.1)
        network.fc.weight[:, -config.hidden :] += torch.eye(config.hidden)
        network.o_proj.weight.mul_(0.1)
        network.down_proj.weight.mul_(0.1)


def in_blocks(begun: EagleNetwork, parallel: int) -> dict[str, Tensor]:
    """Weights of a network that says ``parallel`` states a slot, each at first what another says.

    Raises:
        GuardError: the other says several already, and not as many.
    """
    told, have = begun.state_dict(), begun.config.parallel
    if have == parallel:
        return told
    if have != 1:
        raise GuardError(f"the drafter to start from says {have} tokens a pass, not {parallel}")
    last = {name: value for name, value in told.items() if name.startswith("down_proj.")}
    return told | {n: v.repeat(parallel, *[1] * (v.ndim - 1)) for n, v in last.items()}


def matrices(trained: Mapping[str, Tensor], spared: tuple[str, ...]) -> frozenset[str]:
    """Names of the layer's matrices, as Muon takes them, but for the layers ``spared``."""
    heads = ("head", "judge", "embedding")
    return frozenset(
        name
        for name, value in trained.items()
        if value.ndim == 2 and name.split(".")[0].removeprefix("network.") not in (*spared, *heads)
    )


def memory(
    spec: Any, network: EagleNetwork | LongspecNetwork, plan: Plan, bytes_a_weight: int
) -> Memory:
    """What training needs, from configurations alone.

    Args:
        spec: the target's configuration. bytes_a_weight: of the target's weights.
    """
    text, reading, mix = spec.get_text_config(), plan.reading, plan.mix
    config = network.config
    watched, parallel = (
        (config.layers, config.parallel)
        if isinstance(config, EagleConfig)
        else (config.features, 1)
    )
    tokens = reading.rows * reading.width
    width = 2 if reading.bf16 else 4
    passes = -(-mix.unroll // parallel)
    read = 2 * (config.hidden + config.target_hidden) + 3 * config.heads * config.head_dim
    said = (3 + parallel) * config.hidden + 3 * config.intermediate
    drafts = (mix.unroll * read + passes * said) * tokens * width
    scores = 2 * passes * config.heads * tokens * reading.width * width
    reads = tokens * text.hidden_size * width * (len(watched) + 8)
    wide = (
        (min(mix.chunk, tokens) if mix.chunk else mix.unroll * tokens)
        * 4
        * (2 * config.vocabulary + 4 * config.said)
    )
    return Memory(
        target=weights(spec) * bytes_a_weight,
        drafter=trained(network) * 8,  # weights and gradients in fp32
        optimizer=trained(network) * 12,  # master copy and two moments
        activations=drafts + scores + reads,
        logits=wide,
    )


def _rope(text: Any) -> Rope:
    """The target's rotation where the drafter knows it, else a plain one of the same base."""
    table = getattr(text, "rope_parameters", None) or {}
    table = table.get("full_attention") or table
    kind, theta = table.get("rope_type", "default"), float(table.get("rope_theta", 10_000.0))
    if kind == "linear":
        return Rope(kind=kind, theta=theta, factor=float(table["factor"]))
    if kind != "llama3":
        return Rope(theta=theta)
    return Rope(
        kind=kind,
        theta=theta,
        factor=float(table["factor"]),
        low=float(table["low_freq_factor"]),
        high=float(table["high_freq_factor"]),
        original=int(table["original_max_position_embeddings"]),
    )
