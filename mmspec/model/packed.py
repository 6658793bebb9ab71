"""Linear layers and norms as decoding wants them: prepacked, fused, and blind to the batch.

The modules of a loaded model are replaced in place by equivalents; no modelling code is touched.
A linear layer sees [G, R, K]: the leading axis is a loop, so that a row's bits depend on R alone
and never on how many rows the step holds.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class PackedLinear(nn.Module):
    """``x @ weight.T + bias`` with the weight laid out once for small batches."""

    bias: torch.Tensor | None
    packed: torch.Tensor | None
    plain: torch.Tensor  # the weight as it came; empty when there is a packed one

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bias = bias
        self.packed = _pack(weight)
        self.plain = weight if self.packed is None else weight.new_empty(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[G, R, K] -> [G, R, N]."""
        if x.shape[0] == 1:
            return self._group(x)
        return torch.cat([self._group(x[index : index + 1]) for index in range(x.shape[0])])

    def _group(self, x: torch.Tensor) -> torch.Tensor:
        if self.packed is None:
            return F.linear(x, self.plain, self.bias)
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


def joined(*layers: nn.Linear, after: int = 0) -> PackedLinear:
    """Linear layers on the same input as one; where some have a bias, the others get one of 0.

    Args:
        after: columns of the input, from the first, that are left out.
    """
    weight = torch.cat([layer.weight.data[:, after:] for layer in layers])
    if all(layer.bias is None for layer in layers):
        return PackedLinear(weight, None)
    biases = [
        layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.data
        for layer in layers
    ]
    return PackedLinear(weight, torch.cat(biases))


class _Waiting(threading.local):
    """What the followers of a lead will fetch in this thread: one model may run in several."""

    def __init__(self) -> None:
        self.asked: torch.Tensor | None = None
        self.parts: list[torch.Tensor | None] = []


class FusedLead(nn.Module):
    """First of several linear layers on the same input: computes all, hands the rest on."""

    def __init__(self, linears: list[nn.Linear]) -> None:
        super().__init__()
        self.widths = [linear.out_features for linear in linears]
        weight = torch.cat([linear.weight.data for linear in linears])
        biases = [linear.bias for linear in linears]
        present = [bias.data for bias in biases if bias is not None]
        bias = torch.cat(present) if present else None
        self.linear = PackedLinear(weight, bias)
        self._waiting = _Waiting()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The first layer's output; the others wait for their followers."""
        first, *rest = torch.split(self.linear(x), self.widths, dim=-1)
        self._waiting.asked, self._waiting.parts = x, [None, *rest]
        return first

    def take(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """What layer ``index`` gives for ``x``, computed by the lead a moment ago."""
        here = self._waiting
        part = here.parts[index] if x is here.asked else None
        if part is None:
            raise RuntimeError("fused linear layers were called out of order")
        here.parts[index] = None
        if all(waiting is None for waiting in here.parts):
            here.asked = None
        return part


class FusedFollower(nn.Module):
    """One of the later linear layers of a ``FusedLead``."""

    lead: FusedLead

    def __init__(self, lead: FusedLead, index: int) -> None:
        super().__init__()
        object.__setattr__(self, "lead", lead)  # a reference, not a submodule: its home is the lead
        self.index = index

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Hand over the lead's result for the same input."""
        return self.lead.take(self.index, x)


class RowNorm(nn.Module):
    """Root-mean-square norm in one operator; ``weight`` has any offset folded in."""

    def __init__(self, weight: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.weight = weight
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., H] -> [..., H]."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def pack_model(model: nn.Module) -> None:
    """Replace every linear layer under ``model``; fuse those that read the same input."""
    for module in list(model.modules()):
        for names in FUSED:
            linears: list[Any] = [getattr(module, name, None) for name in names]
            if all(type(linear) is nn.Linear for linear in linears) and _alike(linears):
                lead = FusedLead(linears)
                setattr(module, names[0], lead)
                for index, name in enumerate(names[1:], start=1):
                    setattr(module, name, FusedFollower(lead, index))
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, PackedLinear(child.weight.data, _data(child.bias)))


def _alike(linears: list[nn.Linear]) -> bool:
    return len({linear.bias is None for linear in linears}) == 1


def _data(parameter: nn.Parameter | None) -> torch.Tensor | None:
    return None if parameter is None else parameter.data


def _pack(weight: torch.Tensor) -> torch.Tensor | None:
    """The weight in oneDNN's blocked layout, or None where this build or machine has none."""
    if weight.device.type != "cpu" or weight.dtype not in {torch.bfloat16, torch.float32}:
        return None
    if not torch.backends.mkldnn.is_available():
        return None
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return None
    if weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), 16)
