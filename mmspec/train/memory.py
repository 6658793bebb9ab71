"""What training takes, from configurations alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

if TYPE_CHECKING:
    from torch import nn

GIB = 1 << 30


class Memory(NamedTuple):
    """Bytes a training process needs; activations are an estimate from above."""

    target: int
    drafter: int
    optimizer: int
    activations: int
    logits: int

    def table(self) -> str:
        """One line a part, in GiB."""
        rows = [f"{name:<12}{size / GIB:9.3f} GiB" for name, size in self._asdict().items()]
        return "\n".join([*rows, f"{'sum':<12}{sum(self) / GIB:9.3f} GiB"])


def weights(spec: Any) -> int:
    """Parameters of the model of a configuration, tied ones once."""
    seeing = "text_config" in spec.sub_configs
    kind = AutoModelForImageTextToText if seeing else AutoModelForCausalLM
    with torch.device("meta"):
        return sum(p.numel() for p in kind.from_config(spec).parameters())


def trained(network: nn.Module) -> int:
    """Parameters that learn."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
