"""What is timed of a target and its drafters at one context: the engine's own calls, in its order.

Times are of the whole call, with what the processor does for it, and end when the device is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from vlm_drafters import CHILDREN, widen

from mmspec.core.drafter import Budget, Needs
from mmspec.core.request import Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.core.verify import verify
from mmspec.engine.engine import REACH
from mmspec.engine.settle import observation, reading
from mmspec.model.batch import pack_trees
from mmspec.model.prefill import Prefill

if TYPE_CHECKING:
    from vlm_meter import Laps
    from vlm_models import Plan

    from mmspec.core.request import Media
    from mmspec.model.families.family import Encoded
    from mmspec.model.target import Output, Target
    from mmspec.text.eagle import Eagle

ANSWER = 512  # tokens a sequence may take behind its prompt
NODES = 64  # of the largest tree that is verified
ALL = 1 << 12  # nodes of a tree that keeps whatever was guessed
PATH = (0, 1, 3, 7)  # the leftmost path of a bush of 16: what one settled step commits


class Scene:
    """Sequences whose prompts are ``context`` tokens with a picture, as far as they are read.

    Args:
        chunk: tokens of one prefill pass.
    """

    def __init__(
        self, plan: Plan, target: Target, drafters: dict[str, Eagle], context: int, count: int,
        chunk: int,
    ) -> None:  # fmt: skip
        self.target, self.drafters, self._chunk = target, drafters, chunk
        self._grouped = target.numerics == "bitwise"
        self.needs = Needs()
        for drafter in drafters.values():
            self.needs = self.needs.join(drafter.needs)
        sampling = Sampling(temperature=0.0, max_tokens=ANSWER, ignore_eos=True)
        prompts = [plan.prompt(context, index) for index in range(count)]
        self.sequences = [
            Sequence(Request(f"{context} {index}", prompt, sampling), 0, 0)
            for index, prompt in enumerate(prompts)
        ]
        self.cache = target.new_cache(count * (context + ANSWER + NODES + 1), chunk, NODES + 1)
        self._encoded: dict[str, Encoded] = {}

    def see(self, index: int, lap: Laps) -> None:
        """Encode a sequence's picture."""
        for media in self.sequences[index].prompt.media:
            self._encoded[media.digest] = self.target.encode(media)
        lap("vision tower")

    def read(self, index: int, lap: Laps) -> None:
        """Prefill a sequence, all drafters watching; its last token stays, to be a tree's root."""
        sequence, cache = self.sequences[index], self.cache
        cache.open(sequence.id, len(sequence) + ANSWER)
        prefill = Prefill(self.target, sequence, self._look)
        while sequence.pending > 1:
            stop = min((sequence.cached // self._chunk + 1) * self._chunk, len(sequence) - 1)
            output = self.target.forward(prefill.chunk(stop, cache), cache, self.needs)
            lap("target")
            count = stop - sequence.cached
            cache.commit(sequence.id, np.arange(count))
            tokens = sequence.tokens[sequence.cached : stop]
            sequence.cached = stop
            seen = reading(tokens, output.hidden)
            for name, drafter in self.drafters.items():
                drafter.observe([sequence], seen)
                lap(name)

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
        seen = observation(trees, [kept] * batch, range(batch), output, self.needs)
        lap("commit")
        for name, drafter in self.drafters.items():
            drafter.observe(chosen, seen)
            lap(name)

    def draft(self, name: str, batch: int, width: int, depth: int, lap: Laps) -> None:
        """A tree of ``width`` nodes expanded at each depth down to ``depth``.

        Raises:
            RuntimeError: a tree has another size: not what its name says was measured.
        """
        drafter, chosen = self.drafters[name], self.sequences[:batch]
        widen(drafter, width)
        trees = drafter.draft(chosen, [Budget(ALL, depth)] * batch)
        lap("draft")
        # Every root has all its children, and every level below it ``width`` parents of them.
        due = 1 + CHILDREN + CHILDREN * width * (depth - 1)
        if {len(tree) for tree in trees} != {due}:
            raise RuntimeError(f"{name}: {[len(tree) for tree in trees]} nodes, not {due}")

    def close(self) -> None:
        """Give back what the drafters hold."""
        for sequence in self.sequences:
            for drafter in self.drafters.values():
                drafter.forget(sequence.id)

    def _look(self, media: Media) -> Encoded:
        return self._encoded[media.digest]


def bush(root: int, nodes: int) -> TokenTree:
    """A tree in which every node has two children as far as there are nodes."""
    parents = np.array([-1, *((node - 1) // 2 for node in range(1, nodes))], np.int32)
    zero = np.zeros(nodes, np.float32)
    tokens = np.append(root, np.arange(20, 19 + nodes))
    return TokenTree(tokens, parents, zero, zero.astype(np.uint8))
