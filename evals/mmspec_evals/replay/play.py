"""Playing tracks: one arm's rounds over a recorded text."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.fuse import UNION, Fusion, expected, fuse
from mmspec.core.tree import TokenTree

if TYPE_CHECKING:
    from mmspec.core.calibration import Calibration
    from mmspec.core.drafter import Budget
    from mmspec_evals.replay.track import Track


@dataclass(frozen=True, slots=True)
class Arm:
    """A way of drafting.

    Attributes:
        sources: numbers of the drafters that are asked; None: all.
        how: of fusing. enough: tokens promised by what quotes for which no model is asked.
    """

    sources: frozenset[int] | None = None
    how: Fusion = UNION
    enough: float = float("inf")


@dataclass(slots=True)
class Played:
    """Counts over some tracks; ``seconds`` holds each round's fusing."""

    rounds: int = 0
    emitted: int = 0
    nodes: int = 0
    model_rounds: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def tau(self) -> float:
        """Tokens a round, the bonus included."""
        return self.emitted / self.rounds if self.rounds else 0.0


def play(
    one: Track, arm: Arm, budget: Budget, played: Played, calibration: Calibration | None = None
) -> None:
    """Go through one track; ``played`` is added to, and ``calibration`` learns."""
    at, end, places = 0, len(one.tokens) - 1, one.trees()
    while at < end:
        trees = _asked(places[at], arm, budget, calibration)
        played.model_rounds += any(arm.how.models >> int(t.source[-1]) & 1 for t in trees)
        began = time.perf_counter()
        tree, cells = (
            fuse(trees, budget, arm.how, calibration)
            if trees
            else (TokenTree.root(int(one.tokens[at])), None)
        )
        played.seconds.append(time.perf_counter() - began)
        kept = walk(tree, one.tokens[at + 1 :])
        if cells is not None and calibration is not None:
            calibration.learn(cells, tree.parents, kept)
        played.rounds += 1
        played.nodes += len(tree) - 1
        # At the text's end the bonus is not said.
        said = min(len(kept), end - at)
        played.emitted += said
        at += said


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
    trees: list[TokenTree], arm: Arm, budget: Budget, calibration: Calibration | None
) -> list[TokenTree]:
    """The trees an arm would have: models are not asked where what quotes promises enough."""
    chosen = [t for t in trees if arm.sources is None or int(t.source[-1]) in arm.sources]
    quoted = [t for t in chosen if not arm.how.models >> int(t.source[-1]) & 1]
    if not quoted or arm.enough == float("inf"):
        return chosen
    return quoted if expected(quoted, budget, arm.how, calibration) >= arm.enough else chosen
