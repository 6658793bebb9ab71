"""The classical drafter: a small language model of the same tokenizer guesses for a large one.

Leviathan et al. (arXiv:2211.17192), with trees in place of chains. What it has read of a text
persists; what it said to itself while a tree grew is written over by the next tree. It reads the
sequence itself, lazily, and never a picture.

With ``pages`` its trees see of a long text what the target's last verification attended to
(``asked_pages``). The text is read whole as ever: what is kept of it is what it sees parts of.

Axes: B sequences, F nodes of one level, T rows, V ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from msgspec import Meta

from mmspec.core.drafter import Budget, Facts, Keys, Observation
from mmspec.core.grow import Level, grow
from mmspec.core.tree import TokenTree
from mmspec.model.target import Target
from mmspec.text.asked_pages import AskedPages, Asking, asked_pages
from mmspec.text.draft_model_load import load_draft_model
from mmspec.text.draft_model_memory import Memories, Memory
from mmspec.text.draft_model_rows import DraftRows
from mmspec.text.guesses import Guesses, Rules
from mmspec.text.near import WHOLE, Near, View, reading_by
from mmspec.text.spots import REACH, Grove, chain_spots

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.request import Request
    from mmspec.core.sequence import Sequence
    from mmspec.model.cache import KVCache

CHAIN = 16  # tokens it is behind that still go beside other sequences', with the tree's root
CHUNK = 256  # tokens of one sequence read in one pass
PACE = 2048  # most tokens of one sequence read between two steps of the target


class Config(Asking, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of ``[drafters.text.draft_model]``."""

    path: str  # a model folder, a hub id, or the name of a bundled model
    floor: float = 0.02  # least chance of acceptance for which a guess gets a row of the verify
    least: float = 0.3  # least chance of a node for which it is worth saying what follows
    width: Annotated[int, Meta(ge=1)] = 4  # nodes of one sequence expanded at one depth
    children: Annotated[int, Meta(ge=1)] = 4  # guesses at one node
    tokens: int = 1 << 18  # room for keys and values, over all sequences; touched as they come


class DraftModel:
    """Reads what is decided, and grows trees from what it would say itself.

    Args:
        facts: of the target. model: the draft model, in the target's arithmetic.
        pages: what its trees see.
    """

    runs_model = True

    def __init__(self, config: Config, facts: Facts, model: Target, pages: AskedPages) -> None:
        self._config, self._context, self._pages = config, facts.context, pages
        self.needs = pages.needs
        said = np.arange(model.facts.vocabulary)
        self._rules = Rules(facts, said, config.children, config.floor)
        scratch = config.width * REACH
        cache = model.new_cache(max(config.tokens, 2 * scratch), chunk=1, scratch=scratch)
        self._memories = self._memory(cache, known_ids(facts, model), facts, model)
        self._rows = DraftRows(model, cache)

    def borrow(self, keys: Keys) -> None:
        """Take the view of the target's store."""
        self._pages.borrow(keys)

    @torch.inference_mode()
    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Keep up with long texts chunk by chunk; a few tokens wait for the next tree."""
        self._pages.observe(sequences, seen)
        for sequence in sequences:
            memory = self._memories.of(sequence)
            if memory is not None:
                self._catch_up(memory, min(sequence.cached, len(sequence) - 1))

    @torch.inference_mode()
    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """One tree a sequence; the root alone where the draft model cannot follow (yet)."""
        trees = [TokenTree.root(int(sequence.tokens[-1])) for sequence in sequences]
        speaks: list[int] = []
        memories: list[Memory] = []
        limits: list[Budget] = []
        for index, (sequence, budget) in enumerate(zip(sequences, budgets, strict=True)):
            memory = self._ready(sequence) if budget.nodes > 1 and budget.depth > 0 else None
            if memory is not None:
                held = memory.filled + len(self._memories.waiting(memory))
                # The deepest guesses are not run: they may stand where the context ends.
                free = self._memories.limit - held + 1
                speaks.append(index)
                memories.append(memory)
                limits.append(Budget(budget.nodes, min(budget.depth, REACH, free)))
        if not speaks:
            return trees
        roots = np.array([trees[index].tokens[0] for index in speaks])
        near = self._pages.near([self._seen(memory) for memory in memories])
        growth = Growth(self._rows, self._memories, memories, self._rules, near)
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
        """Tokens its context holds, and those of the prompt that it leaves out."""
        if self._memories.limit >= self._context:
            return None
        ids = request.prompt.ids
        return self._memories.limit + len(ids) - len(self._memories.readable(ids))

    def room(self, tokens: int) -> int:
        """Bytes of keys and values of a sequence of so many tokens, and of a tree."""
        return self._memories.room(tokens) + self._pages.bytes

    @property
    def pool(self) -> int:
        """Bytes of its store."""
        return self._memories.cache.store.nbytes

    def _memory(self, cache: KVCache, known: np.ndarray, facts: Facts, model: Target) -> Memories:
        """What it reads, and how much of one text."""
        return Memories(cache, known, min(model.max_context, facts.context))

    def _seen(self, memory: Memory) -> View:
        """What a tree sees of what was read, by slot; everything where tokens were left out."""
        return self._pages.view(memory.sequence) if memory.filled == memory.read else WHOLE

    def _ready(self, sequence: Sequence) -> Memory | None:
        """The sequence's memory, if all it lacks goes with the root, and fits."""
        if not len(self._memories.readable(sequence.tokens[-1:])):
            return None
        memory = self._memories.of(sequence)
        if memory is None:
            return None
        memory.reopen()
        self._catch_up(memory, len(sequence) - 1)
        if len(sequence) - memory.read > CHAIN + 1:
            return None
        fits = memory.filled + len(self._memories.waiting(memory)) <= memory.room
        return memory if fits else None

    def _catch_up(self, memory: Memory, stop: int) -> None:
        """Read decided tokens up to index ``stop``, or almost, as far as pace and room allow."""
        stop = min(stop, memory.read + PACE)
        while stop - memory.read > CHAIN:
            end = min(memory.read + CHUNK, stop)
            part = self._memories.readable(memory.sequence.tokens[memory.read : end])
            if memory.filled + len(part) > memory.room:
                return
            if len(part):
                self._rows.chunk(part, memory.home)
            memory.keep(len(part), end)
            self._memories.note(memory)


class Growth:
    """Trees of many sequences on their way up. Axes: B those that draft."""

    def __init__(
        self, rows: DraftRows, memories: Memories, drafting: list[Memory], rules: Rules,
        near: Near | None,
    ) -> None:  # fmt: skip
        self._rows, self._memories, self._drafting = rows, memories, drafting
        self._near = near
        self._guesses = Guesses(rules, [memory.sequence for memory in drafting])
        self._grove = Grove([])

    def expand(self, level: Level) -> tuple[np.ndarray, np.ndarray]:
        """Run the level's nodes, whose ancestors are in the store, and guess their children."""
        if level.depth == 0:
            memories = [self._drafting[owner] for owner in level.owner]
            near = None if self._near is None else self._near.of(level.owner)
            states = read_roots(self._rows, self._memories, memories, near)
            self._grove = Grove([memory.home for memory in self._drafting])
        else:
            spots = self._grove.level(level.owner, level.parents, level.depth)
            read = reading_by(self._near, spots, level.owner)
            states = self._rows.states(level.tokens, spots, read)
        return self._guesses.children(self._rows.logits(states), level)


def read_roots(
    rows: DraftRows, held: Memories, memories: ListOf[Memory], near: Near | None = None
) -> torch.Tensor:
    """Read what was decided since the last tree; states [B, H] of the last decided tokens.

    ``near``: what these sequences see; None: everything.
    """
    parts = [held.waiting(memory) for memory in memories]
    counts = np.array([len(part) for part in parts], np.int64)
    spots = chain_spots([memory.home for memory in memories], counts)
    read = reading_by(near, spots, np.repeat(np.arange(len(parts)), counts))
    states = rows.states(np.concatenate(parts), spots, read)
    for memory, part in zip(memories, parts, strict=True):
        memory.keep(len(part), len(memory.sequence))
    return states[torch.from_numpy(np.cumsum(counts) - 1).to(states.device)]


def known_ids(facts: Facts, model: Target) -> np.ndarray:
    """Ids that both models know and neither reads as a picture: bool [V]."""
    known = np.ones(min(model.facts.vocabulary, facts.vocabulary), np.bool_)
    unseen = facts.media_tokens | model.facts.media_tokens
    known[[id for id in unseen if id < len(known)]] = False
    return known


def build(config: Config, facts: Facts) -> DraftModel:
    """A drafter from its model's folder, in the target's arithmetic and on its device.

    Raises:
        ConfigError: there is no model we can run, or it speaks of other tokens.
    """
    target = facts.model if isinstance(facts.model, Target) else None
    pages = asked_pages("text.draft_model", config, target)
    return DraftModel(config, facts, load_draft_model(config.path, facts, target), pages)
