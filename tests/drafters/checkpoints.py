"""Tiny random checkpoints for drafters that cannot be made without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from drafters.markov import HIDDEN, VOCABULARY

from mmspec.text.eagle_checkpoint import save_checkpoint
from mmspec.text.eagle_config import EagleConfig
from mmspec.text.eagle_network import EagleNetwork

if TYPE_CHECKING:
    from pathlib import Path

EAGLE = EagleConfig(
    hidden=24, target_hidden=HIDDEN, layers=(0, 2), heads=4, kv_heads=2, head_dim=8,
    intermediate=40, vocabulary=VOCABULARY, own_embedding=True,
)  # fmt: skip


def options(address: str, folder: Path) -> dict[str, object]:
    """What the drafter at ``address`` must be told."""
    if address == "text.eagle":
        save_checkpoint(folder, random_network(EAGLE))
        return {"path": str(folder), "floor": 1e-4}
    return {}


def random_network(config: EagleConfig, seed: int = 0, loud: float = 3.0) -> EagleNetwork:
    """A network of some opinion: the larger ``loud``, the more peaked what it says."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = EagleNetwork(config)
        for name, value in network.named_parameters():
            if "norm" in name:
                value.data += 0.2 * torch.randn_like(value)
            elif name == "head.weight":
                value.data *= loud
            elif name == "embedding.weight":
                value.data.normal_()
        if config.draft_vocabulary is not None:
            kept = torch.randperm(config.vocabulary)[: config.draft_vocabulary]
            network.speak_only(kept.sort().values)
    return network
