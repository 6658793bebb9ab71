"""Drafters of real shapes with random weights for the targets of ``vlm_models``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch

from mmspec.text import eagle
from mmspec.text.asked_pages import AskedPages
from mmspec.text.eagle import Eagle
from mmspec.text.eagle_config import EagleConfig, Rope
from mmspec.text.eagle_network import EagleNetwork
from mmspec.text.eagle_rows import EagleRows
from mmspec.train.eagle_shape import Shape, eagle_config
from mmspec.vision import vispec
from mmspec.vision.sight import SightConfig
from mmspec.vision.vispec import Vispec
from mmspec.vision.vispec_network import VispecConfig, VispecNetwork

if TYPE_CHECKING:
    from vlm_models import Plan

    from mmspec.model.target import Target

CHILDREN = 8  # guesses at a node: enough for the widest level
WIDEST = 8  # nodes of one sequence at one depth


def random_drafters(plan: Plan, target: Target, slots: int, seed: int) -> dict[str, Eagle]:
    """By name: the text drafter, ViSpec's own graph, and ours.

    Args:
        slots: room for keys and values of each.
    """
    text = plan.spec.get_text_config()
    # The bundled drafters' form, at this target's width: three layers, a head and ids of its own.
    wide = eagle_config(text, Shape(draft_vocabulary=plan.said, window=3))
    narrow = VispecConfig(
        **msgspec.structs.asdict(_narrow(wide, plan)),
        sight=SightConfig(keys="embeds", plain=True, key_bias=plan.biased),
    )
    ours = VispecConfig(**msgspec.structs.asdict(wide), sight=SightConfig())
    torch.manual_seed(seed + 1)
    settings: dict[str, Any] = {
        "path": "", "least": 0.0, "width": WIDEST, "children": CHILDREN, "tokens": slots,
    }  # fmt: skip
    made: dict[str, Eagle] = {}
    with torch.device(target.device):
        networks = {
            "text.eagle": EagleNetwork(wide),
            "vision.vispec, ViSpec's": VispecNetwork(narrow),
            "vision.vispec, ours": VispecNetwork(ours),
        }
    for name, network in networks.items():
        rows = lent(network, target)
        if isinstance(network, VispecNetwork):
            seeing = vispec.Config(**settings)
            made[name] = Vispec(seeing, target.facts, rows, AskedPages(seeing, None))
        else:
            blind = eagle.Config(**settings)
            made[name] = Eagle(blind, target.facts, rows, AskedPages(blind, None))
        # Random weights find everything unlikely; every depth is to be reached all the same.
        made[name].rules.floor = np.float32(-np.inf)
    return made


def lent(network: EagleNetwork, target: Target) -> EagleRows:
    """A network with what it shares with its target; it speaks the first of the target's ids."""
    if network.config.draft_vocabulary is not None:
        network.speak_only(torch.arange(network.config.draft_vocabulary, device=target.device))
    network.lend(target.embed, target.logits, target.family.decoder.norm)
    return EagleRows(network, target.dtype, target.device)


def widen(drafter: Eagle, width: int) -> None:
    """Fix the nodes of one sequence that are expanded at one depth, up to ``WIDEST``."""
    drafter._config = msgspec.structs.replace(drafter._config, width=width)  # a bench may


def level_bytes(drafter: Eagle, target: Target) -> int:
    """Bytes of weights that one level of a tree reads, the head's with them."""
    network = drafter.rows.network
    # Wide networks fuse true features only; a picture is looked at once; embeddings are looked up.
    spared = ("sight.", "embedding.", *(("fc.",) if network.config.wide else ()))
    own = sum(
        weight.numel() * weight.itemsize
        for name, weight in network.named_parameters()
        if not name.startswith(spared)
    )
    head = 0 if network.head is not None else network.config.hidden * network.config.vocabulary
    return own + head * target.dtype.itemsize


def _narrow(wide: EagleConfig, plan: Plan) -> EagleConfig:
    """EAGLE-1's layer, which ViSpec builds on, over the target's last features and with its head.

    The published files hold a copy of the target's embedding; it is lent here, at the same cost.
    """
    return EagleConfig(
        hidden=wide.hidden,
        target_hidden=wide.hidden,
        layers=(plan.spec.get_text_config().num_hidden_layers - 1,),
        heads=wide.heads,
        kv_heads=wide.kv_heads,
        head_dim=wide.head_dim,
        intermediate=wide.intermediate,
        vocabulary=wide.vocabulary,
        eps=wide.eps,
        rope=Rope(theta=wide.rope.theta),
        wide=False,
        fc_bias=True,
        attention_bias=plan.biased,
        final_norm=False,
        own_head=False,
        normed_features=True,
    )
