"""First weights of a drafter of bounded memory: a feature drafter's, and two fitted maps.

What the target asks of its own keys at the layer that is read is nearly a linear function of the
last few embeddings where that layer is the one that looks up what followed a token before
(``evals/bench/copying_layers.py`` tells which that is). So the drafter's queries can be fitted by
least squares before anything is learned, and so can the map from what the target reads there to
the head's row of the token that comes next.

Axes: P places, Q queries' width, H hidden, E the target's hidden, W window, L layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmspec.longctx.longspec_config import LongspecConfig
from mmspec.longctx.longspec_network import LongspecNetwork
from mmspec.train.far import windows
from mmspec.train.guards import GuardError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mmspec.text.eagle_network import EagleNetwork
    from mmspec.train.capture import FrozenTarget
    from mmspec.train.packing import PackedRows

RIDGE = 1e-3  # of the mean square, added to the diagonal
LOUD = 0.5  # of a state's size is what a token that was looked up adds to it


def from_features(begun: EagleNetwork, config: LongspecConfig) -> LongspecNetwork:
    """A network with a feature drafter's weights, as far as both have them.

    Keys and values of the feature drafter also read states; here they read embeddings alone.

    Raises:
        GuardError: the shapes differ.
    """
    network = LongspecNetwork(config)
    given, mine = begun.float().state_dict(), network.state_dict()
    shown = config.window * config.target_hidden
    for name in ("k_proj.weight", "v_proj.weight"):
        given[name] = given[name][:, :shown]
    for name, value in given.items():
        if name not in mine or mine[name].shape != value.shape:
            raise GuardError(f"{name} {tuple(value.shape)}: a drafter of another shape")
        mine[name] = value
    mine["cross_o.weight"] = torch.zeros_like(mine["cross_o.weight"])
    network.load_state_dict(mine)
    return network


def like_features(begun: EagleNetwork, reads: int, text: Any, span: int) -> LongspecConfig:
    """The shape of a network that begins with a feature drafter's weights.

    Args:
        text: the target's configuration.
    """
    of, heads = begun.config, text.num_attention_heads
    shared = {
        name: getattr(of, name)
        for name in ("hidden", "target_hidden", "heads", "kv_heads", "head_dim", "intermediate",
                     "vocabulary", "draft_vocabulary", "eps", "rope", "window", "confidence")
    }  # fmt: skip
    return LongspecConfig(
        **shared, reads=reads, features=of.layers, span=span, direct=True,
        cross_heads=heads, target_kv_heads=text.num_key_value_heads,
        target_head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
    )  # fmt: skip


def last_full(text: Any) -> int:
    """The last layer of a target that sees all of a text.

    Raises:
        GuardError: none does.
    """
    kinds = getattr(text, "layer_types", None)
    if kinds is None:
        near = getattr(text, "sliding_window", None) is not None
        kinds = ["near" if near else "full_attention"] * text.num_hidden_layers
    full = [layer for layer, kind in enumerate(kinds) if kind == "full_attention"]
    if not full:
        raise GuardError("no layer of the target sees all of a text: its keys cannot be read")
    return full[-1]


class _Fit:
    """Ridge regression of Y [P, m] from X [P, n], gathered in parts, float64."""

    def __init__(self) -> None:
        self._xx: Tensor | None = None
        self._xy: Tensor | None = None

    def add(self, x: Tensor, y: Tensor) -> None:
        x, y = x.double(), y.double()
        xx, xy = x.T @ x, x.T @ y
        self._xx = xx if self._xx is None else self._xx + xx
        self._xy = xy if self._xy is None else self._xy + xy

    def solve(self) -> Tensor:
        """The map, [m, n]."""
        assert self._xx is not None
        assert self._xy is not None
        ridge = RIDGE * self._xx.diagonal().mean() * torch.eye(len(self._xx)).to(self._xx)
        return torch.linalg.solve(self._xx + ridge, self._xy).T


@torch.no_grad()
def fit_reading(
    network: LongspecNetwork, target: FrozenTarget, batches: Iterable[PackedRows],
    kept: Tensor | None,
) -> None:  # fmt: skip
    """Set what asks the target's keys, and what is made of their values, by least squares.

    Args:
        kept: int64 [V], the target id of every draft id; None: all.

    Raises:
        GuardError: the network does not ask by embeddings, or not with the target's heads.
    """
    config = network.config
    attention: Any = target.family.decoder.layers[config.reads].self_attn
    asked = getattr(getattr(attention, "q_proj", None), "out_features", 0)
    if not config.direct or asked != network.cross_q.out_features:
        raise GuardError("only queries of embeddings, with the target's own heads, can be fitted")
    asks, tells = _Fit(), _Fit()
    seen: dict[str, Tensor] = {}
    size = 1.0
    hooks = [
        attention.q_proj.register_forward_hook(lambda _m, _i, out: seen.update(asked=out)),
        attention.o_proj.register_forward_pre_hook(lambda _m, given: seen.update(read=given[0])),
    ]
    places = None if kept is None else _places(kept, target.config.vocab_size).to(target.device)
    head = network.head.weight if network.head is not None else target.model.lm_head.weight
    for rows in batches:
        captured = target.read(rows)
        final, layers = captured.final, [captured.hidden[k] for k in config.features]
        real = rows.sample >= 0
        asks.add(network.shown(windows(rows, network.window))[real], seen["asked"][real])
        next_token = target.logits(final[rows.learned]).argmax(-1)
        said = next_token if places is None else places[next_token]
        tells.add(seen["read"][rows.learned][said >= 0], head[said[said >= 0]].float())
        if config.features:
            states = network.fuse([kept_layer.float()[rows.learned] for kept_layer in layers])
            size = float(states.square().mean().sqrt())
    for hook in hooks:
        hook.remove()
    shown = config.window * config.target_hidden
    network.cross_q.weight.zero_()
    network.cross_q.weight[:, :shown] = asks.solve()
    rows_size = float(head.float().square().mean().sqrt())
    network.cross_o.weight.copy_(LOUD * size / rows_size * tells.solve())


def _places(kept: Tensor, size: int) -> Tensor:
    places = torch.full((size,), -1)
    places[kept] = torch.arange(len(kept))
    return places
