"""A feature drafter's trees by its network's own formulas: each path alone, dense, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from drafters.markov import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from mmspec.core.tree import TokenTree
    from mmspec.text.eagle_network import EagleNetwork


class Known(NamedTuple):
    """What the rows of a path have left: states said at the last, [1, 1, (k,) H], keys, values.

    ``place`` is the position of the slot that follows, ``path`` the tokens so far.
    """

    said: Tensor
    keys: Tensor
    values: Tensor
    place: int
    path: list[int]


def scores(
    network: EagleNetwork, tree: TokenTree, root: Known, lift: Callable[[Tensor], Tensor] | None
) -> np.ndarray:
    """What every node's score should be; k nodes of a path are read at once."""
    told, ids = np.zeros(len(tree)), network.target_ids().tolist()
    held: dict[int, tuple[Known, list[int]]] = {0: (root, [])}
    for node in range(1, len(tree)):
        above, token = int(tree.parents[node]), int(tree.tokens[node])
        known, since = held[above]
        said = chances(network, states(network, known)[len(since)])
        told[node] = told[above] + float(said[ids.index(token)])
        since = [*since, token]
        ended = len(since) == network.config.parallel
        held[node] = (read(network, known, since, lift), []) if ended else (known, since)
    return told


def states(network: EagleNetwork, known: Known) -> Tensor:
    """[k, H]."""
    return known.said.reshape(network.config.parallel, -1)


def read(
    network: EagleNetwork, known: Known, tokens: list[int], lift: Callable[[Tensor], Tensor] | None
) -> Known:
    """Go on by k tokens, each beside the state that foretold it."""
    keys, values, place, path = known.keys, known.values, known.place, known.path
    for state, token in zip(states(network, known), tokens, strict=True):
        given, path = state[None, None], [*path, token]
        shown = window(network, path)
        bias = None if lift is None else lift(given)
        query, key, value = network.project(shown, given, torch.tensor([[place]]), bias)
        keys, values, place = torch.cat([keys, key], 1), torch.cat([values, value], 1), place + 1
    said = network.finish(shown, given, attended(query, keys, values), bias)
    return Known(said, keys, values, place, path)


def attended(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What queries [1, N, heads, D] see, each all the keys."""
    return torch.nn.functional.scaled_dot_product_attention(
        query.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), enable_gqa=True
    ).transpose(1, 2)


def chances(network: EagleNetwork, state: Tensor) -> Tensor:
    """Log-probabilities of all draft ids, there being no pictures to say."""
    logits = network.logits(state)
    return torch.log_softmax(logits.masked_fill(network.target_ids() == MEDIA, -torch.inf), -1)


def windows(network: EagleNetwork, text: list[int]) -> Tensor:
    """What the slots of a text read: [1, S], or [1, S, W] above one token."""
    return torch.cat([window(network, text[: slot + 2]) for slot in range(len(text) - 1)], 1)


def window(network: EagleNetwork, path: list[int]) -> Tensor:
    """What the slot before the path's last token reads."""
    width = network.config.window
    latest = [path[max(0, len(path) - 1 - back)] for back in range(width)]
    return torch.tensor([[latest]]) if width > 1 else torch.tensor([latest])
