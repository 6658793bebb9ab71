"""The network of a drafter of bounded memory over packed rows: prepacked, compiled, one layer.

Keys and values of its own tokens, and all that embeddings add to a query, depend on ids alone:
where the vocabulary is small they are rows of a table. Rows go through every linear layer in
groups of a fixed size, so a row's bits never depend on who drafts beside it. Elsewhere than on a
processor the network's own formulas serve.

Axes: T rows, G groups of R rows, H hidden, E the target's hidden, W window, V ids, C width of the
target's keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from mmspec_kernels.attention import attend_stored, tree_attention
from mmspec_kernels.layout import TreeLayout
from mmspec_kernels.rows import add_norm, gated, rotate_store
from mmspec_kernels.stored import arithmetic, stored
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmspec.longctx.longspec_compiled import turn_queries
from mmspec.longctx.words import Words, in_groups, packed
from mmspec.text.eagle_compiled import join_norms, turn
from mmspec.text.eagle_room import Views
from mmspec.text.eagle_rows import Said
from mmspec.text.spots import ROWS, Spots, grouped

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.longctx.longspec_network import LongspecNetwork
    from mmspec.model.packed import PackedLinear
    from mmspec.model.turning import Turning

BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class Far(NamedTuple):
    """What rows read of the target: keys and values, a view [2, kv heads, n, C], of rows [a, b)."""

    stored: Tensor
    first: int
    last: int


class LongspecRows:
    """A :class:`LongspecNetwork` prepacked for decoding in one dtype on one device."""

    def __init__(
        self, network: LongspecNetwork, dtype: torch.dtype, device: torch.device, turning: Turning
    ) -> None:
        # The table of turns stays in float32, whatever the weights are: a cast would round it.
        frequencies = network.frequencies
        network = network.to(device=device, dtype=dtype).requires_grad_(False).eval()
        network.frequencies = frequencies.to(device)
        config = network.config
        self.network, self.config, self.dtype, self.device = network, config, dtype, device
        self.compiled = device.type == "cpu"
        self.views = Views()
        self._turning, self._frequencies = turning, network.frequencies.cpu().numpy()
        self._far_frequencies = turning.frequencies.cpu().numpy()
        self._real, self._word = arithmetic(dtype)
        self._size = config.heads * config.head_dim
        self._scales = config.head_dim**-0.5, config.target_head_dim**-0.5
        self._fc = None if network.fc is None else packed(network.fc)
        self._out, self._cross_out = packed(network.o_proj), packed(network.cross_o)
        self._gate_up = packed(network.gate_proj, network.up_proj)
        self._down = packed(network.down_proj)
        said = [layer for layer in (network.head, network.judge) if layer is not None]
        self._head = None if network.head is None else packed(*said)
        if self.compiled:
            self._split()
        norms = (network.state_norm, network.cross_norm, network.between_norm, network.norm)
        self._state, self._cross, self._between, self._last = map(self._weights, norms)

    def _split(self) -> None:
        """Queries, keys and values as what embeddings add and what states do."""
        network, config = self.network, self.config
        outer = config.window * config.target_hidden
        own = (network.q_proj, network.k_proj, network.v_proj)
        self._words = Words(network, list(own))
        width = sum(layer.out_features for layer in own)
        self._asked = None
        if config.features:  # keys and values of a state are nothing
            self._asked = packed(network.q_proj, after=outer, outputs=width, bias=False)
        direct, self._far_words = config.direct, None
        if direct:
            self._far_words = Words(network, [network.cross_q])
        self._far_asked = packed(network.cross_q, after=outer if direct else 0, bias=not direct)

    @property
    def judged(self) -> bool:
        """Whether it foretells acceptance."""
        return self.network.judge is not None

    def fuse(self, features: Tensor) -> Tensor:
        """True features [T, L E] as states [T, H]."""
        assert self._fc is not None
        return self._linear(self._fc, features)

    def heads(self, normed: Tensor) -> Tensor:
        """Logits [T, V] over draft ids; where it judges, [T, V + 1], the judgement's last."""
        if self._head is not None:  # one layer says both
            return self._linear(self._head, normed)
        parts = [self.network.head_logits]
        parts += [] if self.network.judge is None else [self.network.judge]
        told = [torch.cat([part(group) for part in parts], -1) for group in grouped(normed)]
        return torch.cat(told)[: len(normed)]

    def remember(
        self, tokens: np.ndarray, slots: np.ndarray, places: np.ndarray, store: Tensor
    ) -> None:
        """Write the keys and values of decided tokens into the store.

        Args:
            tokens: int64 [T, W], windows. slots, places: int64 [T].
        """
        if not self.compiled:
            ids, where = self._ids(tokens), torch.from_numpy(places).to(self.device)
            pair = self.network.keys(self.network.shown(ids[None]), where[None])
            for side, rows in enumerate(pair):
                store[side][:, torch.from_numpy(slots).to(self.device)] = rows[0].transpose(0, 1)
            return
        made = self._words.rows(tokens)
        query = np.empty((self.config.kv_heads, len(tokens), 0, self.config.head_dim), made.dtype)
        self._turn(np.ascontiguousarray(made[:, self._size :]), slots, places, store, query)

    def run(
        self, tokens: np.ndarray, states: Tensor | None, spots: Spots, store: Tensor,
        far: ListOf[Far], rotary: np.ndarray,
    ) -> Said:  # fmt: skip
        """One level of trees: writes the rows' keys into ``store``, reads what each may see.

        Args:
            tokens: int64 [T, W]. states: [T, H]; None where the network reads none.
            store: [2, kv heads, S, D]. far: the target's, in the order of the rows.
            rotary: int64 [T], the target's positions of the rows.
        """
        if not self.compiled:
            return self._plain(tokens, states, spots, store, far, rotary)
        count, hidden, config = len(tokens), self.config.hidden, self.config
        real, word, eps = self._real, self._word, config.eps
        stream = self._begin(tokens, states)
        given = None
        if self._asked is not None:
            given = in_groups(self._asked, self._normed(stream, self._state))
        rows = self._words.rows(tokens, given)
        total = len(spots.layout.slots) if isinstance(spots.layout, TreeLayout) else count
        query = torch.zeros(
            config.kv_heads, total, config.heads // config.kv_heads, config.head_dim,
            dtype=self.dtype,
        )  # fmt: skip
        self._turn(rows, spots.slots, spots.positions, store, stored(query))
        assert isinstance(spots.layout, TreeLayout)
        assert spots.reading is not None
        seen = attend_stored(
            query, store, spots.layout, spots.reading, self._scales[0], self.views.of(store)
        )
        delta = self._linear(self._out, seen.view(total, -1)[:count])
        body = stored(stream)
        normed = torch.zeros(total, hidden, dtype=self.dtype)
        add_norm(body, stored(delta), self._cross, eps, stored(normed)[:count], real, word)
        query_rows = in_groups(self._far_asked, normed[:count])
        if self._far_words is None:
            asked = stored(query_rows.contiguous())
        else:
            asked = self._far_words.rows(tokens, query_rows)
        delta = self._linear(self._cross_out, self._ask(asked, far, rotary))
        add_norm(body, stored(delta), self._between, eps, stored(normed)[:count], real, word)
        both = stored(self._gate_up(normed.view(-1, ROWS, hidden))).reshape(total, -1)
        inner = torch.zeros(total, config.intermediate, dtype=self.dtype)
        gated(both[:count], stored(inner)[:count], real, word)
        last = self._down(inner.view(-1, ROWS, config.intermediate)).reshape(total, -1)[:count]
        if not config.final_norm:
            stream += last
            return Said(stream, stream)
        normed = torch.zeros(total, hidden, dtype=self.dtype)
        add_norm(body, stored(last), self._last, eps, stored(normed)[:count], real, word)
        return Said(stream, normed)

    def _weights(self, norm: nn.Module) -> np.ndarray:
        """A norm's weight in arithmetic form; empty for none."""
        if not isinstance(norm, nn.RMSNorm):
            return np.empty(0, self._real.dtype)
        return norm.weight.data.to(torch.float64).cpu().numpy().astype(self._real.dtype)

    def _begin(self, tokens: np.ndarray, states: Tensor | None) -> Tensor:
        """The stream [T, H], a copy that may be written over."""
        if states is not None:
            return states.clone()
        latest = torch.from_numpy(np.ascontiguousarray(tokens[:, 0])).to(self.device)
        return self.network.embed(latest).to(self.dtype).clone()

    def _normed(self, rows: Tensor, weight: np.ndarray) -> Tensor:
        out = torch.empty_like(rows)
        nothing = np.empty((len(rows), 0, 1), stored(rows).dtype)
        join_norms(
            nothing, stored(rows), (weight, weight), self.config.eps, stored(out), self._real,
            self._word,
        )  # fmt: skip
        return out

    def _turn(
        self, rows: np.ndarray, slots: np.ndarray, places: np.ndarray, store: Tensor,
        query: np.ndarray,
    ) -> None:  # fmt: skip
        shape = (len(rows), self.config.head_dim)
        cos, sin = np.empty(shape, self._real.dtype), np.empty(shape, self._real.dtype)
        turn(places, self._frequencies, cos, sin)
        none = np.zeros((0, self.config.head_dim), self._real.dtype)
        rotate_store(
            rows, cos, sin, none, self.config.eps, slots, *self.views.of(store), query,
            self._real, self._word,
        )  # fmt: skip

    def _ask(self, asked: np.ndarray, far: ListOf[Far], rotary: np.ndarray) -> Tensor:
        """Attention of queries [T, heads C] to what each row's target has cached, [T, heads C]."""
        config, count = self.config, len(asked)
        shape = (count, config.target_head_dim)
        cos, sin = np.empty(shape, self._real.dtype), np.empty(shape, self._real.dtype)
        turn(rotary, self._far_frequencies, cos, sin)
        if self._turning.scale != 1.0:
            cos, sin = (
                cos * self._real.dtype.type(self._turning.scale),
                sin * self._real.dtype.type(self._turning.scale),
            )
        heads = config.target_kv_heads
        query = torch.empty(
            heads, count, config.cross_heads // heads, config.target_head_dim, dtype=self.dtype
        )
        turn_queries(asked, cos, sin, stored(query), self._real, self._word)
        seen = torch.zeros(count, config.cross_heads * config.target_head_dim, dtype=self.dtype)
        for stored_far, first, last in far:
            if stored_far.shape[2] == 0:  # the first token of a text has nothing before it
                continue
            part = query[:, first:last].reshape(1, heads, -1, config.target_head_dim)
            keys, values = stored_far[:, None]
            told, _ = _flash(part, keys, values, 0.0, False, scale=self._scales[1])
            told = told.view(heads, last - first, -1, config.target_head_dim).transpose(0, 1)
            seen[first:last] = told.reshape(last - first, -1)
        return seen

    def _plain(
        self, tokens: np.ndarray, states: Tensor | None, spots: Spots, store: Tensor,
        far: ListOf[Far], rotary: np.ndarray,
    ) -> Said:  # fmt: skip
        """The same by the network's own formulas, on any device."""
        network, layout, count = self.network, spots.layout, len(tokens)
        assert isinstance(layout, TreeLayout)
        assert spots.reading is not None
        ids, where = (
            self._ids(tokens)[None],
            torch.from_numpy(spots.positions).to(self.device)[None],
        )
        shown = network.shown(ids)
        given = None if states is None else states[None]
        stream, query = network.begin(ids, shown, given, where)
        padding = (0, 0, 0, 0, 0, len(layout.slots) - count)
        q, k, v = (
            nn.functional.pad(part[0], padding).contiguous()
            for part in (query, *network.keys(shown, where))
        )
        seen = tree_attention(q, k, v, store, layout, spots.reading, self._scales[0])[:count]
        angles = self._turning.angles(torch.from_numpy(rotary).to(self.device)[None])
        stream, asked = network.ask(shown, stream, seen[None], angles)
        told = torch.zeros_like(asked)
        for stored_far, first, last in far:
            if stored_far.shape[2]:
                told[0, first:last] = _seen(asked[0, first:last], stored_far)
        said = network.finish(stream, told)[0]
        return Said(said, network.norm(said))

    def _ids(self, tokens: np.ndarray) -> Tensor:
        ids = torch.from_numpy(tokens).to(self.device)
        return ids if self.config.window > 1 else ids[:, 0]

    def _linear(self, layer: PackedLinear, x: Tensor) -> Tensor:
        """[T, K] -> [T, N], in groups where that matters."""
        return in_groups(layer, x) if self.compiled else layer(x[None])[0]


def _seen(asked: Tensor, stored_far: Tensor) -> Tensor:
    """Attention of queries [T, heads, C] to keys and values [2, kv heads, n, C], [T, heads, C].

    The queries of one key head are rows of one product, so that its keys are read once. cuDNN's
    attention is left out: it makes a plan for every n, and n grows with every step.
    """
    kv_heads = stored_far.shape[1]
    part = asked.unflatten(1, (kv_heads, -1)).transpose(0, 1).flatten(1, 2)[None]
    keys, values = stored_far[:, None]
    with sdpa_kernel(BACKENDS):
        out = nn.functional.scaled_dot_product_attention(part, keys, values)
    return out[0].unflatten(1, (len(asked), -1)).transpose(0, 1).flatten(1, 2)
