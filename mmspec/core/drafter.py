"""What a drafter is: it watches, it guesses, it forgets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Sequence as ListOf

    import torch

    from mmspec.core.ranker import Ranker
    from mmspec.core.request import FinishReason, Request
    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a drafter asks the target to produce; nothing undeclared is ever produced.

    Attributes:
        layers: decoder layers whose output hidden states it reads; -1 is what enters the first:
            embeddings, with pictures' projected features in their places.
        top: how many of the target's most likely tokens it reads at every verified node.
        chances: whether it also reads how likely those are.
        context: how many tokens of the text it reads that end with each verified node.
        keys: whether it reads the target's own key-value store; see ``Borrower``.
        queries: decoder layers whose queries it reads, of the tokens that decoding cached.
    """

    layers: tuple[int, ...] = ()
    top: int = 0
    chances: bool = False
    context: int = 0
    keys: bool = False
    queries: tuple[int, ...] = ()

    def join(self, other: Needs) -> Needs:
        """Everything either of the two asks for."""
        return Needs(
            layers=tuple(sorted({*self.layers, *other.layers})),
            top=max(self.top, other.top),
            chances=self.chances or other.chances,
            context=max(self.context, other.context),
            keys=self.keys or other.keys,
            queries=tuple(sorted({*self.queries, *other.queries})),
        )


class Budget(NamedTuple):
    """How large a tree may be: ``nodes`` with the root, ``depth`` edges below it."""

    nodes: int
    depth: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What a drafter may know of the target it guesses for.

    Attributes:
        vocabulary: number of token ids.
        context: most tokens a sequence may hold.
        media_tokens: placeholder ids, which are never drafted.
        stop_tokens: ids that end a text; nothing is drafted below them. A request may add to them
            or ignore them: ask ``mmspec.core.stops.Stops``.
        model: the target itself, for drafters that share its weights (None in tests).
        ranker: from its name, what finds the passages of a long text that have to do with a
            question.
        pieces: the bytes of every token id; empty where no tokenizer is known.
    """

    vocabulary: int
    context: int
    media_tokens: frozenset[int] = frozenset()
    stop_tokens: frozenset[int] = frozenset()
    model: object | None = None
    ranker: Callable[[str], Ranker] | None = None
    pieces: ListOf[bytes] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """What the target showed in one step, packed over B sequences. Read-only.

    Axes: C tokens cached by this step, T verified nodes of this step.

    Attributes:
        offsets: int32 [B + 1], where each sequence's part of ``tokens`` and ``hidden`` begins.
        tokens: int64 [C], the tokens that were cached, in order.
        hidden: layer -> [C, H], their hidden states.
        node_offsets: int32 [B + 1], where each sequence's verified nodes begin (empty in prefill).
        node_tokens: int64 [T], every verified node, accepted or not: a wrong guess also teaches.
        top: int64 [T, k], the target's most likely tokens after each node, best first.
        chances: float32 [T, k], their log-probabilities under the target's own law, before any
            shaping.
        contexts: int64 [T, n], the last tokens of the text as it would stand at each node, that
            node's own last; -1 before the text's beginning.
        queries: layer -> [C, Hkv, G, D], what they asked of the cached keys there, rotated and
            times the layer's scale; none in prefill.
    """

    offsets: np.ndarray
    tokens: np.ndarray
    hidden: Mapping[int, torch.Tensor] = field(default_factory=dict)
    node_offsets: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int32))
    node_tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    top: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    chances: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    contexts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    queries: Mapping[int, torch.Tensor] = field(default_factory=dict)


def part(seen: Observation, chosen: ListOf[int]) -> Observation:
    """What the sequences at ``chosen`` were shown, in that order."""

    def pick(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spans = [np.arange(offsets[index], offsets[index + 1]) for index in chosen]
        ends = np.cumsum([0, *map(len, spans)], dtype=np.int32)
        return np.concatenate(spans), ends

    rows, offsets = pick(seen.offsets)
    shown = Observation(
        offsets=offsets,
        tokens=seen.tokens[rows],
        hidden={layer: states[rows] for layer, states in seen.hidden.items()},
        queries={layer: asked[rows] for layer, asked in seen.queries.items()},
    )
    if len(seen.node_offsets) == 1:
        return shown
    nodes, node_offsets = pick(seen.node_offsets)
    return replace(
        shown,
        node_offsets=node_offsets,
        node_tokens=seen.node_tokens[nodes],
        top=seen.top[nodes] if len(seen.top) else seen.top,
        chances=seen.chances[nodes] if len(seen.chances) else seen.chances,
        contexts=seen.contexts[nodes] if len(seen.contexts) else seen.contexts,
    )


class Drafter(Protocol):
    """Batch in, batch out. Never sees the cache's bookkeeping, the scheduler or the wire.

    A drafter whose guesses cost passes of a model says so (``runs_model = True``).

    A sequence may be forgotten and observed again in the middle of its text (after a batch in
    which another one failed): what was not seen is missing then, never wrong.
    """

    needs: Needs

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Learn from what the target just committed, prefill included."""
        ...

    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """One tree a sequence, rooted at its last decided token, within its budget.

        The tree's ``source`` is left 0; the engine stamps it.
        """
        ...

    def forget(self, id: str) -> None:
        """Free everything held for the sequence ``id``; unknown ids are fine.

        What was read of its prompt's whole chunks (``Sequence.prefix``) may stay, bounded, for
        prompts that begin the same way.
        """
        ...


@runtime_checkable
class Remembers(Protocol):
    """A drafter that keeps, of texts that ended, what a prompt that begins the same way can use."""

    def clear(self) -> None:
        """Forget every text that is not in flight."""
        ...


@runtime_checkable
class Keeper(Protocol):
    """A drafter that may keep a text after its end, for its tenant's other texts."""

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """A text it watched has ended, and how. Called once, before ``forget``.

        All of the sequence is decided; what was never accepted is not in it.
        """
        ...


class Keys(Protocol):
    """The target's keys and values; what is committed is never written (``mmspec.model.keys``).

    Attributes:
        store: [layers, 2, Hkv, S, D], of all sequences.
    """

    store: torch.Tensor

    def place(self, sequence: Sequence) -> tuple[int, int, int] | None:
        """Slot of its position 0, committed tokens, free slots behind them; None: unknown.

        A drafter may use the free ones while it drafts.
        """
        ...

    def read(self, sequence: Sequence, layer: int) -> torch.Tensor | None:
        """Of a layer, for what is cached: a view [2, Hkv, n, D]; None: unknown sequence."""
        ...


class Borrower(Drafter, Protocol):
    """A drafter that needs ``keys``."""

    def borrow(self, keys: Keys) -> None:
        """Take the view of the engine's store; called once, before anything else."""
        ...


@runtime_checkable
class Selective(Protocol):
    """A drafter that is not for every request."""

    def declines(self, request: Request) -> str | None:
        """Why it does not watch a request, for the report; None: it does. Asked once."""
        ...


@runtime_checkable
class Limited(Protocol):
    """A drafter whose positions may end before the target's do."""

    def reach(self, request: Request) -> int | None:
        """Most tokens of a request's text, prompt and answer, that it follows; None: all."""
        ...


@runtime_checkable
class Sized(Protocol):
    """A drafter that holds memory of every sequence it watches."""

    def room(self, tokens: int) -> int:
        """Bytes it holds, at most, of a sequence of so many tokens, prompt and answer.

        A drafter of bounded memory answers by its window, whatever the length.
        """
        ...


@runtime_checkable
class Pooled(Sized, Protocol):
    """A drafter that takes what it holds out of a store of its own."""

    @property
    def pool(self) -> int:
        """Bytes of the store, over all sequences."""
        ...


@runtime_checkable
class Teacher(Protocol):
    """A drafter whose law may be transferred to the target's (``mmspec.core.transfer``)."""

    def ready(self, sequence: Sequence) -> bool:
        """Whether its laws can be had without waiting; it may look twice, a moment apart."""
        ...

    def laws(self, sequence: Sequence, tree: TokenTree) -> tuple[TokenTree, np.ndarray | None]:
        """What it would say after every node of a tree: logits float32 [N, V], -inf for never.

        The tree comes back without the nodes that it cannot read. None, with the root alone:
        it cannot read the root. Both depend on the text alone, not on the tree.

        Raises:
            EngineFaultError: it has no law for this text, and never will.
        """
        ...
