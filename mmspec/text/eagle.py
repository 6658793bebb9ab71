"""The feature drafter: guess what the target will feel next, then read tokens from it (EAGLE).

One decoder layer over the target's own features (Li et al., arXiv:2401.15077, 2406.16858,
2503.01840). What it learns from committed tokens persists; what it said to itself while a tree
grew is written over by the next tree.

With ``pages`` its trees see of a long text what the target's last verification attended to
(``asked_pages``), where no picture takes fewer slots than tokens.

Axes: B sequences, F nodes of one level, C committed tokens, H hidden, k children.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mmspec.core.drafter import Budget, Facts, Keys, Needs, Observation
from mmspec.core.grow import grow
from mmspec.core.tree import TokenTree
from mmspec.text.asked_pages import AskedPages, Asking
from mmspec.text.block_growth import BlockGrowth
from mmspec.text.eagle_fit import pages_for, rows_for
from mmspec.text.eagle_growth import Growth, windows
from mmspec.text.eagle_load import load_network
from mmspec.text.eagle_memory import Memories, Memory
from mmspec.text.guesses import Rules
from mmspec.text.near import WHOLE, Near
from mmspec.text.spots import REACH, chain_spots, chunk_spots

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as ListOf

    from mmspec.core.request import Request
    from mmspec.core.sequence import Sequence
    from mmspec.text.eagle_rows import EagleRows

CHAIN = 16  # tokens committed at once that still go beside other sequences'


class Config(Asking, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of ``[drafters.text.eagle]``."""

    path: str  # a checkpoint folder: ours, EAGLE's or a speculators one; or a bundled drafter
    floor: float = 0.02  # least chance of acceptance for which a guess gets a row of the verify
    heard: float = 0.5  # share of a sampled request's noise that ranks guesses (``children``)
    least: float = 0.4  # least chance of a node for which it is worth saying what follows
    width: int = 4  # nodes of one sequence expanded at one depth
    children: int = 4  # guesses at one node
    tokens: int = 1 << 18  # room for keys and values, over all sequences; touched as they come
    context: int | None = None  # longest text it speaks in; None: what its checkpoint was made for


class Eagle:
    """Reads the features of committed tokens, and grows trees from its own states.

    Attributes:
        rows: its network. store: keys and values, [2, kv heads, S, D]. rules: of its trees.
    """

    runs_model = True

    def __init__(
        self, config: Config, facts: Facts, rows: EagleRows, pages: AskedPages,
        *, dense: bool = False,
    ) -> None:  # fmt: skip
        shape = rows.config
        self.needs = Needs(layers=tuple(sorted(set(shape.layers)))).join(pages.needs)
        self._config, self.rows, self._pages = config, rows, pages
        ids = rows.network.target_ids().cpu().numpy()
        self.rules = Rules(facts, ids, config.children, config.floor, config.heard)
        self._context = config.context or shape.context
        self._memories = Memories(
            (shape.kv_heads, shape.head_dim), config.tokens, config.width * REACH,
            facts.context, rows.dtype, rows.device, dense=dense,
        )  # fmt: skip
        if rows.compiled:
            rows.views.of(self._memories.store)

    def borrow(self, keys: Keys) -> None:
        """Take the view of the target's store."""
        self._pages.borrow(keys)

    @torch.inference_mode()
    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Read the features of what was committed: short pieces together, long ones alone."""
        self._pages.observe(sequences, seen)
        if not all(layer in seen.hidden for layer in self.needs.layers):
            return
        short: list[tuple[Memory, slice]] = []
        for index, sequence in enumerate(sequences):
            part = slice(int(seen.offsets[index]), int(seen.offsets[index + 1]))
            count = part.stop - part.start
            memory = self._memories.watch(sequence, sequence.cached - count, count)
            if memory is None:
                continue
            if memory.late or sequence.prefix.upto(sequence.cached):
                self._enter(memory, {i: seen.hidden[i][part] for i in self.needs.layers})
            elif count > CHAIN or self.sees(memory, count):
                self._read([(memory, part)], seen.hidden)
            elif count > 0:
                short.append((memory, part))
        if short:
            self._read(short, seen.hidden)

    @torch.inference_mode()
    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """One tree a sequence; the root alone where its last features were not seen."""
        trees = [TokenTree.root(int(sequence.tokens[-1])) for sequence in sequences]
        found = [self._memories.ready(one) or self._roused(one) for one in sequences]
        speaks = [index for index, memory in enumerate(found) if memory is not None]
        if not speaks:
            return trees
        memories = [memory for memory in found if memory is not None]
        growth = (Growth if self.rows.config.parallel == 1 else BlockGrowth)(self, memories)
        roots = np.array([trees[index].tokens[0] for index in speaks])
        limits = [
            Budget(budgets[index].nodes, min(budgets[index].depth, REACH)) for index in speaks
        ]
        grown = grow(roots, limits, growth.expand, self._config.width, least=self._config.least)
        for index, tree in zip(speaks, grown, strict=True):
            trees[index] = tree
        return trees

    def forget(self, id: str) -> None:
        """Free the keys and values of the sequence ``id``, but for what rests."""
        self._memories.forget(id)
        self._pages.forget(id)

    def clear(self) -> None:
        """Forget what rests."""
        self._memories.clear()

    def reach(self, request: Request) -> int | None:
        """Tokens of a text that it was made for."""
        return self._context

    def room(self, tokens: int) -> int:
        """Bytes of keys and values of a sequence of so many tokens, and of a tree."""
        return self._memories.room(tokens) + self._pages.bytes

    @property
    def pool(self) -> int:
        """Bytes of its store."""
        return self.store.nbytes

    @property
    def store(self) -> torch.Tensor:
        """Keys and values of all sequences."""
        return self._memories.store

    def near(self, memories: ListOf[Memory]) -> Near | None:
        """What trees of these sequences see; None: everything."""
        return self._pages.near([
            self._pages.view(one.sequence) if one.filled == one.end else WHOLE for one in memories
        ])  # fmt: skip

    def bias(
        self, memories: ListOf[Memory], owner: np.ndarray, states: torch.Tensor
    ) -> torch.Tensor | None:
        """What a drafter that sees adds to rows of these sequences, [T, H]; None: nothing.

        Args:
            owner: int64 [T], whose row it is. states: [T, H], what the rows are read from.
        """
        return None

    def sees(self, memory: Memory, count: int) -> bool:
        """Whether the next ``count`` tokens hold a picture that is not read as text."""
        return False

    def _enter(self, memory: Memory, shown: Mapping[int, torch.Tensor]) -> None:
        """Read what was shown of a prompt, layer -> [C, E], where whole chunks may be shared.

        A slot reads its token's features beside the token after it. So the last token of a whole
        chunk waits: what is known at the chunk's end is then of the chunk and those before it
        alone, and a prompt that goes on from there reads in the same pieces, to the same bits.
        """
        if memory.late:
            shown = {i: torch.cat([memory.late[i], rows]) for i, rows in shown.items()}
            memory.late = {}
        sequence = memory.sequence
        if not sequence.prefix.upto(sequence.cached):
            self._take(memory, shown)
            return
        self._take(memory, {i: rows[:-1] for i, rows in shown.items()})
        memory.late = {i: rows[-1:].clone() for i, rows in shown.items()}
        self._memories.note(memory)
        if memory.shown == len(sequence) - 1:  # a tree grows next
            self._settle(memory)

    def _settle(self, memory: Memory) -> None:
        """Read the token that waits."""
        late, memory.late = memory.late, {}
        self._take(memory, late)

    def _take(self, memory: Memory, shown: Mapping[int, torch.Tensor]) -> None:
        count = min(len(rows) for rows in shown.values())
        if count:
            self._read([(memory, slice(0, count))], shown)

    def _roused(self, sequence: Sequence) -> Memory | None:
        memory = self._memories.rouse(sequence)
        if memory is not None:
            self._settle(memory)
        return memory

    def _read(self, pieces: list[tuple[Memory, slice]], hidden: Mapping[int, torch.Tensor]) -> None:
        """Extend true slots: one long piece, or short ones of several sequences."""
        counts = np.array([part.stop - part.start for _, part in pieces], np.int64)
        memories = [memory for memory, _ in pieces]
        if counts[0] > CHAIN:
            spots = chunk_spots(memories[0].home, int(counts[0]))
        else:
            spots = chain_spots([memory.home for memory in memories], counts)
        layers = self.rows.config.layers
        features = [_joined([hidden[layer][part] for _, part in pieces]) for layer in layers]
        tokens = np.concatenate(
            [windows(memory.sequence.tokens, memory.end + 1, count, self.rows.config.window)
             for memory, count in zip(memories, counts, strict=True)]
        )  # fmt: skip
        states = self.rows.fuse(features, chunk=bool(counts[0] > CHAIN))
        bias = self.bias(memories, np.repeat(np.arange(len(memories)), counts), states)
        last = np.cumsum(counts) - 1
        said = self.rows.run(tokens, states, spots, self.store, bias, last)
        for row, (memory, count) in enumerate(zip(memories, counts, strict=True)):
            memory.filled += int(count)
            memory.end += int(count)
            memory.state, memory.normed = said.states[row], said.normed[row]


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def build(config: Config, facts: Facts) -> Eagle:
    """A feature drafter from its checkpoint, lent what it shares with the target.

    Raises:
        ConfigError: the checkpoint is not one, or does not fit the target.
    """
    rows = rows_for("text.eagle", load_network, config.path, facts)
    return Eagle(config, facts, rows, pages_for("text.eagle", config, facts, rows))
