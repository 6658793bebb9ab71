"""Who is asked to draft: models only where what costs nothing promises little."""

import numpy as np
import pytest

from mmspec.core.drafter import Budget, Needs
from mmspec.core.fuse import promised
from mmspec.core.request import Prompt, Request
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.engine.draft import Panel
from mmspec.engine.stats import Tally

BUDGET = Budget(16, 8)


class Chain:
    """Drafts one chain, of tokens and a chance of its own for each."""

    needs = Needs()

    def __init__(self, token, chances, *, model=False):
        self.runs_model = model
        self._token, self._chances = token, chances
        self.asked = []

    def observe(self, sequences, seen):
        pass

    def draft(self, sequences, budgets):
        self.asked += [sequence.id for sequence in sequences]
        return [self._tree(sequence) for sequence in sequences]

    def _tree(self, sequence):
        chances = self._chances[sequence.request.id]
        count = len(chances)
        tokens = np.array([sequence.tokens[-1], *[self._token] * count], np.int64)
        parents = np.arange(-1, count, dtype=np.int32)
        scores = np.log(np.cumprod([1.0, *chances])).astype(np.float32)
        return TokenTree(tokens, parents, scores, np.zeros(count + 1, np.uint8))

    def forget(self, id):
        pass


def panel(enough):
    free = Chain(5, {"sure": [0.9] * 6, "unsure": [0.2] * 6})
    dear = Chain(7, {"sure": [0.8] * 4, "unsure": [0.8] * 4}, model=True)
    # The dear one is configured first: its number as a source stays what the configuration says.
    made = Panel({"text.dear": dear, "retrieval.free": free}, 100, enough)
    sequences = [Sequence(Request(id, Prompt(np.arange(3, 9))), 0, 0) for id in ("sure", "unsure")]
    tallies = {one.id: Tally(made.addresses, True) for one in sequences}
    return made.draft(sequences, [BUDGET] * 2, tallies), dear.asked, [one.id for one in sequences]


def test_a_model_is_asked_only_where_little_is_promised():
    (sure, unsure), asked, ids = panel(enough=2.5)
    assert asked == ids[1:]
    assert set(sure.source[1:]) == {1}
    assert 0 in unsure.source[1:]


@pytest.mark.parametrize(("enough", "both"), [(1e9, True), (0.1, False)])
def test_the_threshold_may_let_everybody_or_nobody(enough, both):
    _, asked, ids = panel(enough)
    assert asked == (ids if both else [])


def test_what_a_tree_promises_is_what_it_expects_to_be_kept():
    chain = Chain(5, {"a": [0.5, 0.5]})
    tree = chain._tree(Sequence(Request("a", Prompt(np.arange(3, 9))), 0, 0))
    assert promised([tree]) == pytest.approx(0.75)
    assert promised([]) == 0.0
