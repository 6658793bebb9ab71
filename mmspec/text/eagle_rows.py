"""The drafter's network over packed rows, as decoding wants it: prepacked, compiled, one layer.

Rows go through every linear layer in groups of a fixed size, so a row's bits never depend on how
many sequences draft beside it. Elsewhere than on CPU the network's own formulas serve.

Axes: T rows, G groups of R rows, H hidden, E the target's hidden, V ids the head scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from mmspec_kernels.attention import attend_stored, tree_attention
from mmspec_kernels.layout import ChunkLayout, TreeLayout
from mmspec_kernels.rows import add_norm, gated, rotate_store
from mmspec_kernels.stored import arithmetic, stored
from torch import Tensor, nn

from mmspec.model.packed import PackedLinear, joined
from mmspec.text.block_spots import layout_of
from mmspec.text.eagle_compiled import add_said, join_norms, turn
from mmspec.text.eagle_room import Room, Views, make_room
from mmspec.text.spots import ROWS, grouped

if TYPE_CHECKING:
    from mmspec.text.eagle_network import EagleNetwork
    from mmspec.text.spots import Spots


TABLE_BYTES = 64 << 20  # up to this size a table takes the place of the product it holds


class Said(NamedTuple):
    """States [T, H] as the network says them, and as its head reads them.

    The latter may have rows of padding behind, so that a head need not pad them again.
    """

    states: Tensor
    normed: Tensor


class EagleRows:
    """An :class:`EagleNetwork` prepacked for decoding in one dtype on one device.

    Attributes:
        spares: whether every pass spares the rows that are not asked; else only a chunk's are,
            for of few rows to choose costs more than to go on with all.
    """

    spares = False

    def __init__(self, network: EagleNetwork, dtype: torch.dtype, device: torch.device) -> None:
        # The table of turns stays in float32, whatever the weights are: a cast would round it.
        frequencies = network.frequencies
        network = network.to(device=device, dtype=dtype).requires_grad_(False).eval()
        network.frequencies = frequencies.to(device)
        config = network.config
        self.network, self.config = network, config
        self.compiled = device.type == "cpu"
        self.dtype, self.device = dtype, device
        self._scale = config.head_dim**-0.5
        self._real, self._word = arithmetic(dtype)
        self._outer = config.window * config.target_hidden
        self._frequencies = network.frequencies.cpu().numpy()
        self._fc = joined(network.fc)
        projections = (network.q_proj, network.k_proj, network.v_proj)
        self._table = self._tabled(*projections) if self.compiled else None
        self._said = None if self._table is None else stored(self._table)
        self._qkv = joined(*projections, after=0 if self._table is None else self._outer)
        self._out = joined(network.o_proj)
        self._gate_up = joined(network.gate_proj, network.up_proj)
        self._down = joined(network.down_proj)
        own = [layer for layer in (network.head, network.judge) if layer is not None]
        self._head = None if network.head is None else joined(*own)
        self._between = self._weights(network.between_norm)
        self._embedding_norm = self._weights(network.embedding_norm)
        self._state_norm = self._weights(network.state_norm)
        self._last = self._weights(network.norm)
        heads = [self._weights(network.q_norm), self._weights(network.k_norm)]
        none = np.zeros((0, config.head_dim), self._real.dtype)
        self._heads = np.stack(heads) if config.head_norms else none
        self._room, self.views = self._make((1, ROWS)), Views()

    def fuse(self, features: list[Tensor], *, chunk: bool = False) -> Tensor:
        """True features of the watched layers, each [T, E], as states [T, H].

        Args:
            chunk: they are one sequence's prefill, which goes in one group as ``run`` has it.
        """
        if not self.config.wide:
            return self.network.fuse(features).to(self.dtype)
        both = torch.cat(features, -1).to(self.dtype)
        return self._fc(both[None])[0] if chunk else self._linear(self._fc, both)

    @property
    def judged(self) -> bool:
        """Whether it foretells acceptance."""
        return self.network.judge is not None

    def heads(self, normed: Tensor) -> Tensor:
        """Logits [T, V] over draft ids; where it judges, [T, V + 1], the judgement's last.

        Rows of padding are answered too.
        """
        if self._head is not None:  # one layer says both
            return self._linear(self._head, normed)
        parts = [self.network.head_logits]
        parts += [] if self.network.judge is None else [self.network.judge]
        told = [torch.cat([part(group) for part in parts], -1) for group in grouped(normed)]
        return torch.cat(told)[: len(normed)]

    def run(
        self, tokens: np.ndarray, states: Tensor, spots: Spots, store: Tensor,
        bias: Tensor | None = None, asked: np.ndarray | None = None,
    ) -> Said:  # fmt: skip
        """One pass: writes the rows' keys and values into ``store``, reads what each may see.

        Args:
            tokens: int64 [T, W], the slots' windows; -1 where a slot has none (a picture's).
            states: [T, H]. store: [2, kv heads, S, D].
            bias: [T, H], added to what the rows' stream begins with.
            asked: int64 [N], rows whose states are wanted, and no others'; None: all that the
                layout has, which come first.
        """
        chunk = isinstance(spots.layout, ChunkLayout)
        picked = None
        if asked is not None and (chunk or self.spares):
            # What a row leaves in the store depends on what it is read from alone, so only the
            # rows that are asked go through attention and MLP: of a chunk, the last.
            spots = spots._replace(layout=layout_of(spots, asked), reading=None)
            picked, asked = torch.from_numpy(asked).to(self.device), None
        ids = torch.from_numpy(tokens).to(self.device)
        if not self.compiled:
            ids = ids if self.config.window > 1 else ids[:, 0]
            return _picked(self._plain(ids, states, spots, store, bias, picked), asked)
        total = len(tokens)
        room = self._room_of((1, max(total, ROWS)) if chunk else (-(-total // ROWS), ROWS))
        residual, read = self._input(ids, states, bias, room)
        attended = self._attend(tokens, read, spots, store, room, picked)
        assert isinstance(spots.layout, TreeLayout)
        body = residual[: spots.layout.count] if picked is None else residual[picked]
        room = self._room_of((len(attended) // ROWS, ROWS))
        return _picked(self._parted(body, self._inner(stored(body), attended, room)), asked)

    def _room_of(self, groups: tuple[int, int]) -> Room:
        return self._room if groups == (1, ROWS) else self._make(groups)

    def _parted(self, body: Tensor, delta: Tensor) -> Said:
        """States of rows [N, H] to which the MLP adds [N, H], and what the head reads."""
        if not self.config.final_norm:
            body += delta
            return Said(body, body)
        count, hidden = body.shape
        normed = body.new_zeros(-(-count // ROWS) * ROWS, hidden)
        real, word, eps = self._real, self._word, self.config.eps
        out = stored(normed)[:count]
        add_norm(stored(body), stored(delta), self._last, eps, out, real, word)
        return Said(body, normed)

    def _inner(self, body: np.ndarray, attended: Tensor, room: Room) -> Tensor:
        """What the MLP says of rows [T, H], to which attention's part is added: [T, k H].

        Args:
            body: stored form, updated in place. attended: [G * R, heads, D], R and G the room's.
        """
        count, hidden = body.shape
        groups = room.between.tensor.shape[:2]
        real, word, eps = self._real, self._word, self.config.eps
        delta = stored(self._out(attended.view(*groups, -1))).reshape(-1, hidden)
        add_norm(body, delta[:count], self._between, eps, room.between.rows[:count], real, word)
        both = stored(self._gate_up(room.between.tensor)).reshape(groups[0] * groups[1], -1)
        gated(both[:count], room.inner.rows[:count], real, word)
        return self._down(room.inner.tensor).flatten(0, 1)[:count]

    def _make(self, groups: tuple[int, int]) -> Room:
        width = self.config.hidden + (self._outer if self._table is None else 0)
        return make_room(self.config, width, groups, self.dtype)

    def _input(
        self, ids: Tensor, states: Tensor, bias: Tensor | None, room: Room
    ) -> tuple[Tensor, Tensor]:
        """The residual stream [T, H] and what attention reads [G, R, ...], of ids [T, W]."""
        count, config = len(ids), self.config
        outer = self._outer if self._table is None else 0
        read = room.read.tensor
        if not config.wide:
            embeds = self.network.embed(ids).to(self.dtype)
            read.flatten(0, 1)[:count] = torch.cat([embeds.flatten(1), states], -1)
            read = self._fc(read)
            rows = read.flatten(0, 1)[:count]
            rows += 0 if bias is None else bias
            # A picture's slot is read as it is: nothing is joined to it.
            seen = ids[:, 0] < 0
            rows[seen] = states[seen]
            residual = rows.clone()
            rows[:] = self.network.state_norm(rows)
            return residual, read
        # What a table holds is not read: the window is then empty.
        embeds = self.network.embed(ids).to(self.dtype) if outer else states.new_empty(count, 0, 1)
        residual = states.clone() if bias is None else states + bias
        join_norms(
            stored(embeds), stored(residual), (self._embedding_norm, self._state_norm), config.eps,
            room.read.rows[:count], self._real, self._word,
        )  # fmt: skip
        if config.norm_before_residual:
            residual = read.flatten(0, 1)[:count, outer:].clone()
        return residual, read

    def _attend(
        self, tokens: np.ndarray, read: Tensor, spots: Spots, store: Tensor, room: Room,
        picked: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """[G * R, heads, D], of as many rows as the layout has; rows of padding are 0."""
        config, count = self.config, len(spots.slots)
        shape = (count, config.head_dim)
        cos, sin = np.empty(shape, self._real.dtype), np.empty(shape, self._real.dtype)
        turn(spots.positions, self._frequencies, cos, sin)
        projected = stored(self._qkv(read)).reshape(room.read.rows.shape[0], -1)[:count]
        if self._said is not None:
            add_said(projected, self._said, tokens, self._real, self._word)
        views = self.views.of(store)
        rotate_store(
            projected, cos, sin, self._heads, config.eps, spots.slots, *views, room.query.rows,
            self._real, self._word,
        )  # fmt: skip
        layout, query = spots.layout, room.query.tensor
        assert isinstance(layout, TreeLayout)
        reading = spots.reading or layout.reading(None)
        if picked is not None:  # the others leave keys and values, no more
            query = _padded(query[:, picked], len(layout.slots))
        elif query.shape[1] != len(layout.slots):
            query = query[:, : len(layout.slots)].contiguous()
        return attend_stored(query, store, layout, reading, self._scale, views)

    def _plain(
        self, ids: Tensor, states: Tensor, spots: Spots, store: Tensor, bias: Tensor | None,
        picked: Tensor | None,
    ) -> Said:  # fmt: skip
        """The same by the network's own formulas, on any device."""
        network, layout = self.network, spots.layout
        assert isinstance(layout, TreeLayout)
        positions = torch.from_numpy(spots.positions).to(self.device)[None]
        lift = None if bias is None else bias[None]
        query, key, value = network.project(ids[None], states[None], positions, lift)
        slots = torch.from_numpy(spots.slots).to(self.device)
        store[0, :, slots] = key[0].transpose(0, 1)
        store[1, :, slots] = value[0].transpose(0, 1)
        own = slice(layout.count) if picked is None else picked
        rows = (part[0, own].transpose(0, 1) for part in (query, key, value))
        q, k, v = (_padded(part, len(layout.slots)).transpose(0, 1).contiguous() for part in rows)
        read = spots.reading or layout.reading(None)
        seen = tree_attention(q, k, v, store, layout, read, self._scale)[: layout.count][None]
        lift = None if lift is None else lift[:, own]
        said = network.finish(ids[None, own], states[None, own], seen, lift)[0]
        return Said(said, network.norm(said))

    def _linear(self, layer: PackedLinear, x: Tensor) -> Tensor:
        """[T, K] -> [T, N], in groups."""
        out = layer(grouped(x)) if self.compiled else layer(x[None])
        return out.flatten(0, 1)[: len(x)]

    def _tabled(self, *layers: nn.Linear) -> Tensor | None:
        """What each id of a window adds to queries, keys and values, [W, V, Q]; or it is too big.

        A product with a normed embedding depends on nothing but the id, and reading a row of it
        is cheaper than making it.
        """
        config, network = self.config, self.network
        weight = torch.cat([layer.weight.data for layer in layers])
        size = config.window * config.vocabulary * len(weight) * weight.element_size()
        if not config.wide or size > TABLE_BYTES:
            return None
        ids = torch.arange(config.vocabulary, device=self.device)
        embeds = network.embedding_norm(network.embed(ids).to(self.dtype))
        parts = weight[:, : self._outer].split(config.target_hidden, 1)
        return torch.stack([embeds @ part.T for part in parts]).detach()

    def _weights(self, norm: nn.Module) -> np.ndarray:
        """A norm's weight in arithmetic form; empty for none."""
        if not isinstance(norm, nn.RMSNorm):
            return np.empty(0, self._real.dtype)
        return norm.weight.data.to(torch.float64).cpu().numpy().astype(self._real.dtype)


def _padded(rows: Tensor, count: int) -> Tensor:
    """Rows [h, T, ...] with rows of zeros behind, [h, count, ...]."""
    out = rows.new_zeros(rows.shape[0], count, *rows.shape[2:])
    out[:, : rows.shape[1]] = rows
    return out


def _picked(said: Said, asked: np.ndarray | None) -> Said:
    """The rows asked for."""
    if asked is None:
        return said
    rows = torch.from_numpy(asked).to(said.states.device)
    return Said(said.states.index_select(0, rows), said.normed.index_select(0, rows))
