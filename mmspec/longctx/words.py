"""What the embeddings of a window add to a row: a sum of table rows, or products made anew.

A product with a normed embedding depends on nothing but the id, so where a vocabulary is small
all of them are made once.

Axes: T rows, W window, V ids, E the target's hidden, Q width of what is added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from mmspec_kernels.stored import arithmetic, stored
from torch import Tensor, nn

from mmspec.model.packed import PackedLinear
from mmspec.text.eagle_compiled import add_said
from mmspec.text.eagle_rows import TABLE_BYTES
from mmspec.text.spots import grouped

if TYPE_CHECKING:
    import numpy as np

    from mmspec.longctx.longspec_network import LongspecNetwork


class Words:
    """The columns of linear layers that read a window's embeddings, their biases with them.

    Args:
        network: on a processor, in the dtype of its rows.
        layers: side by side; their first W E columns read embeddings.
    """

    def __init__(self, network: LongspecNetwork, layers: list[nn.Linear]) -> None:
        config, self._network = network.config, network
        self._dtype = layers[0].weight.dtype
        self._real, self._word = arithmetic(self._dtype)
        outer = config.window * config.target_hidden
        weight = torch.cat([layer.weight.data[:, :outer] for layer in layers])
        bias = None
        if layers[0].bias is not None:
            bias = torch.cat([layer.bias.data for layer in layers])
        size = config.window * config.vocabulary * len(weight) * weight.element_size()
        self._table = None if size > TABLE_BYTES else self._tabled(weight, bias)
        self._stored = None if self._table is None else stored(self._table)
        self._layer = PackedLinear(weight, bias) if self._table is None else None

    def rows(self, tokens: np.ndarray, given: Tensor | None = None) -> np.ndarray:
        """Stored form [T, Q] of windows int64 [T, W].

        Args:
            given: [T, Q], what they are added to, and may be written over; None: to nothing.
        """
        if self._stored is not None:
            width = self._stored.shape[2]
            made = torch.zeros(len(tokens), width, dtype=self._dtype) if given is None else given
            add_said(stored(made), self._stored, tokens, self._real, self._word)
            return stored(made)
        assert self._layer is not None
        ids = torch.from_numpy(tokens if self._network.window > 1 else tokens[:, 0].copy())
        shown = self._network.shown(ids[None])[0].to(self._dtype)
        made = in_groups(self._layer, shown)
        return stored((made if given is None else made + given).contiguous())

    def _tabled(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """[W, V, Q]; a bias is the newest token's."""
        network = self._network
        ids = torch.arange(network.config.vocabulary)
        normed = network.embedding_norm(network.embed(ids).to(self._dtype))
        parts = [normed @ part.T for part in weight.split(network.config.target_hidden, 1)]
        parts[0] = parts[0] if bias is None else parts[0] + bias
        return torch.stack(parts).detach()


def in_groups(layer: PackedLinear, x: Tensor) -> Tensor:
    """[T, K] -> [T, N], so many rows at once whatever T is."""
    return layer(grouped(x)).flatten(0, 1)[: len(x)]


def packed(*layers: nn.Linear, after: int = 0, outputs: int = 0, bias: bool = True) -> PackedLinear:
    """Linear layers on the same input as one; where some have a bias, the others get one of 0.

    Args:
        after: columns of the input, from the first, that are left out.
        outputs: in all; those that no layer has are 0. bias: whether biases are added.
    """
    weight = torch.cat([layer.weight.data[:, after:] for layer in layers])
    missing = max(0, outputs - len(weight))
    weight = torch.cat([weight, weight.new_zeros(missing, weight.shape[1])])
    if not bias or all(layer.bias is None for layer in layers):
        return PackedLinear(weight, None)
    biases = [
        layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.data
        for layer in layers
    ]
    return PackedLinear(weight, torch.cat([*biases, weight.new_zeros(missing)]))
