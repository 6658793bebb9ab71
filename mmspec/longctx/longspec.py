"""The drafter of bounded memory: its last tokens, and the target's own keys (LongSpec).

LongSpec (arXiv:2502.17421) is one layer that attends to a window of its own tokens, and then to
what the target has cached. Keys of its own tokens are functions of ids, so nothing is undone when
a guess is refused, and nothing is missing when a prompt was found in the prefix cache. A network
with ``features`` also begins each tree with what the target showed of its last token; where that
was not seen it is silent, for one step.

With ``pages`` it reads of the target not all, but what its last verification attended to
(``text.asked_pages``): what it reads is then as bounded as what it holds.

Axes: B sequences, F nodes of one level, W window, H hidden.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from mmspec_kernels.layout import TreeLayout
from msgspec import Meta

from mmspec.core.drafter import Budget, Facts, Keys, Needs, Observation
from mmspec.core.errors import ConfigError
from mmspec.core.grow import Level, grow
from mmspec.core.tree import TokenTree
from mmspec.longctx.longspec_load import load_network
from mmspec.longctx.longspec_rows import Far, LongspecRows
from mmspec.longctx.rings import Ring, Rings
from mmspec.model.load import locate
from mmspec.model.target import Target
from mmspec.model.turning import turning
from mmspec.text.asked_pages import AskedPages, Asking, asked_pages
from mmspec.text.eagle_growth import windows
from mmspec.text.eagle_rows import Said
from mmspec.text.guesses import Guesses, Rules
from mmspec.text.near import WHOLE, near_reading
from mmspec.text.spots import REACH, Grove

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.request import Request
    from mmspec.core.sequence import Sequence
    from mmspec.longctx.longspec_network import LongspecNetwork

LEVELS = REACH - 1  # of a tree, the root's among them: the root's keys stand in scratch too


class Config(Asking, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of ``[drafters.longctx.longspec]``; ``looks``, none: the layer that it reads."""

    path: str  # a checkpoint folder, ours or LongSpec's; or a bundled drafter
    floor: float = 0.02  # least chance of acceptance for which a guess gets a row of the verify
    heard: float = 0.5  # share of a sampled request's noise that ranks guesses (``children``)
    least: float = 0.4  # least chance of a node for which it is worth saying what follows
    width: Annotated[int, Meta(ge=1)] = 4  # nodes of one sequence expanded at one depth
    children: Annotated[int, Meta(ge=1)] = 4  # guesses at one node
    sequences: Annotated[int, Meta(ge=1)] = 64  # that draft at once; memory is this times a ring


class Longspec:
    """Grows trees from ids, the target's keys, and the state it is in.

    Attributes:
        rows: its network. rings: what it holds of its sequences.
    """

    runs_model = True

    def __init__(self, config: Config, facts: Facts, rows: LongspecRows, pages: AskedPages) -> None:
        shape = rows.config
        layers = tuple(sorted(set(shape.features)))
        self.needs = Needs(layers=layers, keys=True).join(pages.needs)
        self._config, self.rows, self._pages = config, rows, pages
        ids = rows.network.target_ids().cpu().numpy()
        self.rules = Rules(facts, ids, config.children, config.floor, config.heard)
        self.rings = Rings(
            (shape.kv_heads, shape.head_dim), shape.span, config.width * REACH, config.sequences,
            rows.dtype, rows.device,
        )  # fmt: skip
        begun = len(shape.features) * shape.target_hidden * rows.dtype.itemsize
        self._begun = begun + pages.bytes
        self._keys: Keys | None = None
        if rows.compiled:
            rows.views.of(self.rings.store)

    def borrow(self, keys: Keys) -> None:
        """Take the view of the target's store."""
        self._keys = keys
        self._pages.borrow(keys)

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Keep features and queries of each sequence's last cached token, and no more."""
        self._pages.observe(sequences, seen)
        layers = self.rows.config.features
        if not layers or not all(layer in seen.hidden for layer in layers):
            return
        for index, sequence in enumerate(sequences):
            first, last = int(seen.offsets[index]), int(seen.offsets[index + 1])
            ring = self.rings.of(sequence) if last > first else None
            if ring is not None:
                ring.state = torch.cat([seen.hidden[layer][last - 1] for layer in layers])
                ring.known = sequence.cached

    @torch.inference_mode()
    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """One tree a sequence; the root alone where its last features were not seen."""
        trees = [TokenTree.root(int(sequence.tokens[-1])) for sequence in sequences]
        if self._keys is None:
            raise ConfigError("longctx.longspec has not been lent the target's keys")
        speaks: list[int] = []
        rings: list[Ring] = []
        far: list[torch.Tensor] = []
        for index, (sequence, budget) in enumerate(zip(sequences, budgets, strict=True)):
            if budget.nodes < 2 or budget.depth < 1:
                continue
            ring = self._ready(sequence)
            read = None if ring is None else self._read(sequence, self._keys)
            if ring is not None and read is not None:
                speaks.append(index)
                rings.append(ring)
                far.append(read)
        if not speaks:
            return trees
        growth = _Growth(self, rings, far)
        roots = np.array([trees[index].tokens[0] for index in speaks])
        limits = [Budget(budgets[i].nodes, min(budgets[i].depth, LEVELS)) for i in speaks]
        grown = grow(roots, limits, growth.expand, self._config.width, least=self._config.least)
        for index, tree in zip(speaks, grown, strict=True):
            trees[index] = tree
        return trees

    def forget(self, id: str) -> None:
        """Free the ring of the sequence ``id``."""
        self.rings.forget(id)
        self._pages.forget(id)

    def reach(self, request: Request) -> int | None:
        """Tokens of a text that it was made for."""
        return self.rows.config.context

    def room(self, tokens: int) -> int:
        """Bytes of a ring, and of what a tree begins with: the same for any length."""
        return self.rings.bytes + self._begun

    @property
    def pool(self) -> int:
        """Bytes of all its rings, with what begins their trees."""
        return self._config.sequences * self.room(0)

    def _read(self, sequence: Sequence, keys: Keys) -> torch.Tensor | None:
        """The target's keys and values [2, Hkv, n, C] that a tree reads; None: unknown sequence.

        A view of everything, or a copy of what the target attended to.
        """
        whole = keys.read(sequence, self.rows.config.reads)
        view = self._pages.view(sequence)
        if whole is None or view is WHOLE:
            return whole
        first = np.arange(self._pages.measures.sinks)
        read = np.concatenate([first, view.far, np.arange(view.start, whole.shape[2])])
        return whole.index_select(2, torch.from_numpy(read).to(whole.device))

    def _ready(self, sequence: Sequence) -> Ring | None:
        """The sequence's ring with all decided tokens but the root in it; None: it is silent."""
        ring = self.rings.of(sequence)
        if ring is None or (self.rows.config.features and ring.known != len(sequence) - 1):
            return None
        first, last = self.rings.advance(ring, len(sequence) - 1)
        if last > first:
            shown = windows(sequence.tokens, first, last - first, self.rows.config.window)
            places = np.arange(first, last)
            self.rows.remember(shown, places + ring.base - ring.start, places, self.rings.store)
        return ring


class _Growth:
    """Trees of many sequences on their way up: the states of the level last expanded."""

    def __init__(self, drafter: Longspec, rings: list[Ring], far: list[torch.Tensor]) -> None:
        self._drafter, self._rows = drafter, drafter.rows
        self._rings, self._far = rings, far
        self._grove = Grove([ring.home for ring in rings])
        sequences = [ring.sequence for ring in rings]
        self._guesses = Guesses(drafter.rules, sequences)
        self._shift = np.array([sequence.position_shift for sequence in sequences], np.int64)
        self._said = Said(torch.empty(0), torch.empty(0))
        self._windows = np.zeros((0, 0), np.int64)

    def expand(self, level: Level) -> tuple[np.ndarray, np.ndarray]:
        """Say states for the level's nodes, and guess their children."""
        states = self._begin(level)
        # The root's own keys are scratch as its descendants' are, so that depths begin at 1.
        spots = self._grove.level(level.owner, level.parents, level.depth + 1)
        assert isinstance(spots.layout, TreeLayout)
        reading = near_reading(spots.layout, level.owner, self._rows.config.span)
        self._said = self._rows.run(
            self._windows, states, spots._replace(reading=reading), self._drafter.rings.store,
            self._split(level.owner), spots.positions + self._shift[level.owner],
        )  # fmt: skip
        said = self._rows.heads(self._said.normed)[: len(level.owner)]
        return self._guesses.children(said, level, judged=self._rows.judged)

    def _begin(self, level: Level) -> torch.Tensor | None:
        """The windows of a level, and the states [F, H] it begins with."""
        config = self._rows.config
        if level.depth == 0:
            chosen = [self._rings[owner] for owner in level.owner]
            self._windows = np.concatenate(
                [windows(r.sequence.tokens, len(r.sequence) - 1, 1, config.window) for r in chosen]
            )
            if not config.features:
                return None
            known = [ring.state for ring in chosen if ring.state is not None]
            return self._rows.fuse(torch.stack(known).to(self._rows.dtype))
        above = self._windows[level.parents, :-1]
        self._windows = np.concatenate([level.tokens[:, None], above], 1)
        if not config.features:
            return None
        rows = torch.from_numpy(level.parents).to(self._rows.device)
        return self._said.states.index_select(0, rows)

    def _split(self, owner: np.ndarray) -> list[Far]:
        """The target's keys of each sequence, with the rows that read them."""
        whose, first = np.unique(owner, return_index=True)
        ends = [*first[1:].tolist(), len(owner)]
        return [
            Far(self._far[one], begin, end)
            for one, begin, end in zip(whose.tolist(), first.tolist(), ends, strict=True)
        ]


def build(config: Config, facts: Facts) -> Longspec:
    """A drafter of bounded memory from its checkpoint, lent what it shares with the target.

    Raises:
        ConfigError: there is no target, the checkpoint is not one, or they do not fit.
    """
    target = facts.model
    if not isinstance(target, Target):
        raise ConfigError("drafter longctx.longspec reads its target's keys, and there is none")
    network = load_network(Path(locate(config.path)), target)
    _check_fit(network, target)
    network.lend(target.embed, target.logits, target.family.decoder.norm)
    turned = turning(target.family.decoder, target.head_dim)
    rows = LongspecRows(network, target.dtype, target.device, turned)
    pages = asked_pages("longctx.longspec", config, target, network.config.reads)
    return Longspec(config, facts, rows, pages)


def _check_fit(network: LongspecNetwork, target: Target) -> None:
    """Refuse a drafter of another target."""
    shape = network.config
    width = target.embed(torch.zeros(1, dtype=torch.int64)).shape[-1]
    wrong = [
        f"{what} {mine}, the target's: {theirs}"
        for what, mine, theirs in (
            ("it knows so many ids:", shape.vocabulary, target.facts.vocabulary),
            ("it reads embeddings of width", shape.target_hidden, width),
            ("it asks so many key heads:", shape.target_kv_heads, target.kv_heads),
            ("it asks keys of width", shape.target_head_dim, target.head_dim),
        )
        if mine != theirs
    ]
    deepest = max(shape.reads, *shape.features, 0)
    if deepest >= target.layers:
        wrong.append(f"it reads layer {deepest}, the target has {target.layers}")
    elif target.sliding(shape.reads) is not None:
        wrong.append(f"layer {shape.reads} sees only its last {target.sliding(shape.reads)} tokens")
    if wrong:
        raise ConfigError(f"drafter longctx.longspec does not fit the target: {'; '.join(wrong)}")
