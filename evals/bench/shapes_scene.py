"""What is timed of a target and its drafters while they decode: the engine's calls, in its order.

Times are of the whole call, with what the processor does for it, and end when the device is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.drafter import Budget, Needs
from mmspec.core.tree import TokenTree
from mmspec.core.verify import verify
from mmspec.engine.engine import REACH
from mmspec.engine.settle import observation
from mmspec.model.batch import pack_trees

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as ListOf

    from vlm_meter import Laps

    from mmspec.core.drafter import Drafter
    from mmspec.core.sequence import Sequence
    from mmspec.model.cache import KVCache
    from mmspec.model.target import Output, Target

ANSWER = 512  # tokens a sequence may take behind its prompt
NODES = 64  # of the largest tree that is verified
ALL = 1 << 12  # nodes of a tree that keeps whatever was guessed
PATH = (0, 1, 3, 7)  # the leftmost path of a bush of 16: what one settled step commits


class Decoding:
    """Sequences with one pending token each, and what the target and its drafters do to them.

    Args:
        drafters: by name. cache: the target's, with room for ``ANSWER`` tokens and a tree of
            ``NODES`` behind each sequence.
    """

    def __init__(
        self, target: Target, drafters: Mapping[str, Drafter], sequences: ListOf[Sequence],
        cache: KVCache,
    ) -> None:  # fmt: skip
        self.target, self.sequences, self.cache = target, sequences, cache
        self.drafters = dict(drafters)
        self._grouped = target.numerics == "bitwise"
        self.needs = Needs()
        for drafter in drafters.values():
            self.needs = self.needs.join(drafter.needs)

    def step(self, batch: int, nodes: int, lap: Laps) -> tuple[list[TokenTree], Output]:
        """Verify a tree of ``nodes`` for each of the first sequences; nothing is committed."""
        chosen = self.sequences[:batch]
        trees = [bush(int(sequence.tokens[-1]), nodes) for sequence in chosen]
        needs = self.needs if nodes > 1 else Needs()
        packed = pack_trees(
            chosen, trees, self.cache,
            reach=REACH, grouped=self._grouped, axes=self.target.family.axes,
        )  # fmt: skip
        output = self.target.forward(packed, self.cache, needs)
        lap("forward")
        assert output.logits is not None
        verdict = verify(trees, output.logits, chosen, self.target.facts.stop_tokens)
        if verdict.faults:
            raise RuntimeError(f"the target is broken: {verdict.faults}")
        lap("verdict")
        return trees, output

    def settle(self, batch: int, lap: Laps) -> None:
        """Commit ``PATH`` of a tree of 16 for each, whatever the verdict, and show the drafters."""
        chosen, kept = self.sequences[:batch], np.array(PATH)
        trees, output = self.step(batch, 16, lap)
        for sequence, tree in zip(chosen, trees, strict=True):
            self.cache.commit(sequence.id, kept)
            sequence.cached += len(kept)
            sequence.extend(np.append(tree.tokens[kept[1:]], tree.tokens[0]))
        seen = observation(trees, [kept] * batch, range(batch), output, self.needs, chosen)
        lap("commit")
        for name, drafter in self.drafters.items():
            drafter.observe(chosen, seen)
            lap(name)

    def grow(self, name: str, batch: int, shape: tuple[int, int], depth: int, lap: Laps) -> None:
        """A tree of ``shape[0]`` nodes expanded at each depth down to ``depth``.

        Args:
            shape: as the drafter is set: nodes expanded at one depth, and guesses at one node.

        Raises:
            RuntimeError: a tree has another size: not what its name says was measured.
        """
        width, children = shape
        trees = self.drafters[name].draft(self.sequences[:batch], [Budget(ALL, depth)] * batch)
        lap("draft")
        # Every root has all its children, and every level below it ``width`` parents of them.
        due = 1 + children + children * width * (depth - 1)
        if {len(tree) for tree in trees} != {due}:
            raise RuntimeError(f"{name}: {[len(tree) for tree in trees]} nodes, not {due}")

    def close(self) -> None:
        """Give back what the drafters hold."""
        for sequence in self.sequences:
            for drafter in self.drafters.values():
                drafter.forget(sequence.id)


def bush(root: int, nodes: int) -> TokenTree:
    """A tree in which every node has two children as far as there are nodes."""
    parents = np.array([-1, *((node - 1) // 2 for node in range(1, nodes))], np.int32)
    zero = np.zeros(nodes, np.float32)
    tokens = np.append(root, np.arange(20, 19 + nodes))
    return TokenTree(tokens, parents, zero, zero.astype(np.uint8))
