"""Playing tracks: one arm's rounds over a recorded text, fused and learned as the engine does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmspec.core.drafter import Budget
from mmspec.core.fuse import UNION, Fusion
from mmspec.core.request import Media, Prompt, Request
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.engine.fusing import Fuser

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec_evals.replay.track import Track

    Shape = Callable[[list[TokenTree], int], list[TokenTree]]


class Cost(NamedTuple):
    """What a round costs, in passes of the target over one node.

    Attributes:
        nodes: of a tree, ascending. passes: what a pass over so many costs; a line between.
        price: of asking a model.
    """

    nodes: tuple[int, ...]
    passes: tuple[float, ...]
    price: float = 0.0

    def of(self, nodes: np.ndarray) -> np.ndarray:
        """Of passes over so many nodes, float64 of their shape; nothing asked."""
        return np.interp(nodes, self.nodes, self.passes)


@dataclass(frozen=True, slots=True)
class Arm:
    """A way of drafting.

    Attributes:
        sources: numbers of the drafters that are asked; None: all.
        how: of fusing. enough: tokens expected of what quotes for which no model is asked; None:
            as many as the engine learns.
        shape: what becomes of the guesses before they are fused, given which sources are models.
        cost: where given, trees are only as large as is expected to say most tokens a cost.
    """

    sources: frozenset[int] | None = None
    how: Fusion = UNION
    enough: float | None = float("inf")
    shape: Shape | None = None
    cost: Cost | None = None


@dataclass(slots=True)
class Played:
    """Counts over some tracks.

    Attributes:
        asked: rounds for which a model was asked, whether it had a guess or not.
        sizes: nodes of each round's tree, with the root. each: tokens, rounds and asked of every
            track. seconds: of each round's fusing.
    """

    rounds: int = 0
    emitted: int = 0
    asked: int = 0
    sizes: list[int] = field(default_factory=list)
    each: list[tuple[int, int, int]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def tau(self) -> float:
        """Tokens a round, the bonus included."""
        return self.emitted / self.rounds if self.rounds else 0.0

    @property
    def nodes(self) -> float:
        """Guesses a round."""
        return float(np.mean(self.sizes)) - 1.0 if self.sizes else 0.0

    def worth(self, price: float, cost: Cost | None = None) -> float:
        """Tokens per pass of the target over one node, or what costs as much.

        Args:
            price: of asking a model, in such passes. cost: of passes over trees; None: all the
                same.
        """
        passes = self.rounds if cost is None else float(cost.of(np.array(self.sizes)).sum())
        return self.emitted / (passes + price * self.asked) if self.rounds else 0.0


def play(one: Track, arm: Arm, budget: Budget, played: Played, fuser: Fuser | None = None) -> None:
    """Go through one track; ``played`` is added to.

    Args:
        fuser: one of ``arm.how`` with what it has learned so far, which learns on; None: a new one.
    """
    fuser = fuser or Fuser(arm.how)
    sequence, places = _stand_in(one), one.trees()
    at, end, before = 0, len(one.tokens) - 1, (played.emitted, played.rounds, played.asked)
    while at < end:
        trees, asked = _asked(places[at], arm, budget, sequence, fuser)
        trees = trees or [TokenTree.root(int(one.tokens[at]))]
        began = time.perf_counter()
        tree = fuser.fuse(sequence, trees, budget)
        if arm.cost is not None:
            size = best_size(tree, arm.cost, asked)
            tree = fuser.fuse(sequence, trees, Budget(size, budget.depth))
        played.seconds.append(time.perf_counter() - began)
        kept = walk(tree, one.tokens[at + 1 :])
        fuser.learn(sequence, tree, kept)
        # At the text's end the bonus is not said.
        said = min(len(kept), end - at)
        played.sizes.append(len(tree))
        played.rounds += 1
        played.asked += asked
        played.emitted += said
        at += said
    fuser.forget(sequence.id)
    emitted, rounds, asked_before = before
    played.each.append(
        (played.emitted - emitted, played.rounds - rounds, played.asked - asked_before)
    )


def best_size(tree: TokenTree, cost: Cost, asked: bool) -> int:
    """Nodes, root included, of the part of a tree that is expected to say most tokens a cost."""
    chances = np.sort(np.exp(tree.scores[1:].astype(np.float64)))[::-1]
    said = 1.0 + np.concatenate([[0.0], np.cumsum(chances)])
    passes = cost.of(np.arange(1, len(tree) + 1)) + (cost.price if asked else 0.0)
    return int(np.argmax(said / passes)) + 1


def walk(tree: TokenTree, text: np.ndarray) -> np.ndarray:
    """Nodes of the path that a text takes through a tree, the root first: int64."""
    kept, node = [0], 0
    for token in text:
        below = np.flatnonzero((tree.parents == node) & (tree.tokens == token))
        if not len(below):
            break
        node = int(below[0])
        kept.append(node)
    return np.array(kept, np.int64)


def _asked(
    trees: list[TokenTree], arm: Arm, budget: Budget, sequence: Sequence, fuser: Fuser
) -> tuple[list[TokenTree], bool]:
    """The trees an arm would have, and whether it asked a model: as ``engine.draft.Panel`` does."""
    models = arm.how.models
    chosen = [t for t in trees if arm.sources is None or int(t.source[-1]) in arm.sources]
    if arm.sources is not None and not any(models >> source & 1 for source in arm.sources):
        asked = False
    else:
        quoted = [t for t in chosen if not models >> int(t.source[-1]) & 1]
        enough = fuser.enough(sequence) if arm.enough is None else arm.enough
        asked = bool(models) and fuser.expected(sequence, quoted, budget) < enough
        chosen = chosen if asked or not models else quoted
    return (arm.shape(chosen, models) if arm.shape is not None else chosen), asked


def _stand_in(one: Track) -> Sequence:
    """What learns by request sees of a track: whether it has pictures. Who asks is one tenant."""
    pictured = any(source.startswith("vision.") for source in one.sources)
    media = (Media("", 0, 1, {}),) if pictured else ()
    return Sequence(Request(one.name, Prompt(one.tokens[:1], media)), 0, 0)
