"""The target guesses for itself: all of its layers, over a text's first and last tokens alone.

Nothing is trained, and no keys are held. Rows of a tree read the target's own keys by views, four
sinks and a window as in StreamingLLM (arXiv:2309.17453) and MagicDec (arXiv:2408.11049), but where
they stand: keys keep the places they were cached at. What the rows themselves need stands in the
slots behind a sequence's committed ones, which the verify that follows writes over.

With ``pages`` it also sees the pages of the text between to which the last verification attended
(``text.asked_pages``, on all layers together). So what a text copies from far away is drafted too.

Axes: B sequences, F nodes of one level, V ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
import torch
from mmspec_kernels.layout import Reading, TreeLayout
from msgspec import Meta

from mmspec.core.drafter import Budget, Facts, Keys, Needs, Observation
from mmspec.core.errors import ConfigError
from mmspec.core.grow import Level, grow
from mmspec.core.tree import TokenTree
from mmspec.model.batch import Batch
from mmspec.model.target import Target
from mmspec.text.asked_pages import AskedPages, Asking, asked_pages
from mmspec.text.guesses import Guesses, Rules
from mmspec.text.near import WHOLE, View, near_reading
from mmspec.text.spots import REACH, ROWS, Grove, Home

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.sequence import Sequence
    from mmspec.text.spots import Spots

LEVELS = REACH - 1  # of a tree, the root's among them: the root's keys stand in scratch too


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of ``[drafters.longctx.self_window]``."""

    sinks: Annotated[int, Meta(ge=0)] = 4  # first tokens of a text that are always seen
    window: Annotated[int, Meta(ge=1)] = 512  # last tokens that are seen, a node's own among them
    floor: float = 0.05  # least chance of acceptance for which a guess gets a row of the verify
    least: float = 0.5  # least chance of a node for which it is worth running the target
    width: Annotated[int, Meta(ge=1)] = 1  # nodes of one sequence expanded at one depth
    children: Annotated[int, Meta(ge=1)] = 2  # guesses at one node
    pages: Annotated[int, Meta(ge=0)] = 0  # pages seen between sinks and window; 0: none
    page: Annotated[int, Meta(ge=1)] = 16  # tokens of one
    looks: tuple[int, ...] = ()  # layers whose attention counts; none: all that see everything

    @property
    def asking(self) -> Asking:
        """What is seen, as other drafters are told it."""
        return Asking(
            pages=self.pages, page=self.page, recent=self.window, sinks=self.sinks, looks=self.looks
        )


class SelfWindow:
    """Grows trees from what the target says of the near past.

    Args:
        facts: of the target; its ``model``. pages: what is seen besides sinks and window.
    """

    runs_model = True

    def __init__(self, config: Config, facts: Facts, target: Target, pages: AskedPages) -> None:
        self.needs = Needs(keys=True).join(pages.needs)
        self._config, self._target = config, target
        ids = np.arange(facts.vocabulary)
        self._rules = Rules(facts, ids, config.children, config.floor)
        self._limit = min(target.max_context, facts.context)
        self._keys: Keys | None = None
        self._pages = pages

    def borrow(self, keys: Keys) -> None:
        """Take the view of the target's store."""
        self._keys = keys
        self._pages.borrow(keys)

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Keep what the last tokens asked; the target's keys are read when a tree begins."""
        self._pages.observe(sequences, seen)

    def forget(self, id: str) -> None:
        """Forget what the sequence ``id`` asked."""
        self._pages.forget(id)

    def room(self, tokens: int) -> int:
        """Bytes of what a token asked, and of where the pages stand: the same for any length."""
        return self._pages.bytes

    @torch.inference_mode()
    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """One tree a sequence; the root alone where there is no room for a level."""
        trees = [TokenTree.root(int(sequence.tokens[-1])) for sequence in sequences]
        if self._keys is None:
            raise ConfigError("longctx.self_window has not been lent the target's keys")
        speaks: list[int] = []
        homes: list[Home] = []
        limits: list[Budget] = []
        for index, (sequence, budget) in enumerate(zip(sequences, budgets, strict=True)):
            place = self._keys.place(sequence)
            if place is None or sequence.pending != 1:
                continue
            base, used, free = place
            # The deepest guesses are not run: they may stand where the context ends.
            levels = min(free // self._config.width, LEVELS, self._limit - used)
            depth = min(budget.depth, levels)
            if budget.nodes > 1 and depth > 0:
                speaks.append(index)
                homes.append(Home(base, used))
                limits.append(Budget(budget.nodes, depth))
        if not speaks:
            return trees
        growth = _Growth(self, [sequences[index] for index in speaks], homes)
        roots = np.array([trees[index].tokens[0] for index in speaks])
        grown = grow(roots, limits, growth.expand, self._config.width, least=self._config.least)
        for index, tree in zip(speaks, grown, strict=True):
            trees[index] = tree
        return trees

    def guesses(self, sequences: ListOf[Sequence]) -> Guesses:
        """What is worth a row, for trees of these sequences."""
        return Guesses(self._rules, sequences)

    def view(self, sequence: Sequence) -> View | None:
        """What is seen besides sinks and window; None: nothing, as right behind a long prompt."""
        if not self._pages.layers:
            return None
        seen = self._pages.view(sequence)
        return seen if seen is not WHOLE or self._pages.short(sequence.cached) else None

    def logits(
        self, level: Level, spots: Spots, shift: np.ndarray, views: ListOf[View | None]
    ) -> torch.Tensor:
        """What the target says after each node, [F, V], having seen only sinks, window and view.

        Args:
            shift: int64 [F], rotary positions less places. views: of each sequence.
        """
        layout, count = spots.layout, len(level.tokens)
        assert isinstance(layout, TreeLayout)
        assert self._keys is not None
        rows = np.zeros((2, len(layout.slots)), np.int64)
        rows[0, :count], rows[1, :count] = level.tokens, spots.positions + shift
        tokens, positions = torch.from_numpy(rows).view(2, -1, ROWS)
        axes = self._target.family.axes
        batch = Batch(
            tokens=tokens,
            positions=positions if axes == 1 else positions.expand(axes, *positions.shape),
            layout=layout,
            count=count,
        )
        config = self._config

        def read(sliding: int | None) -> Reading:
            return near_reading(layout, level.owner, config.window, config.sinks, sliding, views)

        hidden, _ = self._target.states(batch, self._keys, read=read)
        return self._target.family.head(hidden).flatten(0, 1)[:count]


class _Growth:
    """Trees of many sequences on their way up."""

    def __init__(self, drafter: SelfWindow, sequences: ListOf[Sequence], homes: list[Home]) -> None:
        self._drafter, self._grove = drafter, Grove(homes)
        self._views = [drafter.view(one) for one in sequences]
        self._guesses = drafter.guesses(sequences)
        self._shift = np.array([one.position_shift for one in sequences], np.int64)

    def expand(self, level: Level) -> tuple[np.ndarray, np.ndarray]:
        """Run the level's nodes, whose ancestors stand in scratch, and guess their children."""
        # The root's own keys are scratch as its descendants' are, so that depths begin at 1.
        spots = self._grove.level(level.owner, level.parents, level.depth + 1)
        said = self._drafter.logits(level, spots, self._shift[level.owner], self._views)
        return self._guesses.children(said, level)


def build(config: Config, facts: Facts) -> SelfWindow:
    """A drafter that is its target.

    Raises:
        ConfigError: there is no target, or it cannot tell what to see.
    """
    if not isinstance(facts.model, Target):
        raise ConfigError("drafter longctx.self_window is its target, and there is none")
    pages = asked_pages("longctx.self_window", config.asking, facts.model)
    return SelfWindow(config, facts, facts.model, pages)
