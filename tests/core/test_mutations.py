"""Wrong rules that circulate in public code: the harness must catch every one of them.

Each is a program over ``choice`` that drafts and verifies one step. A harness that passes any of
them is broken; a correct rule of another kind passes, so it does not cry wolf either.
"""

import numpy as np
import pytest
from core.exact import World, path_to, tree_of
from core.toy import Toy

from mmspec.core.request import Sampling
from mmspec.core.verify import walk

WARM = Sampling(temperature=0.7)
TREE = tree_of([(0, 1), (0, 2), (2, 0)])


def draft_law(path, size=3):
    """Another model's opinion."""
    row = Toy(size, seed=99).row((0, 1, *path)).astype(np.float64)
    chances = np.exp(row)
    return chances / chances.sum()


def without(chances, token):
    left = chances.copy()
    left[token] = 0.0
    return left / left.sum()


def ratio_rule(choice, target, children, laws):
    """Recursive rejection at one node: accept a child by p over q, else subtract q."""
    for token, q in zip(children, laws, strict=True):
        accept = min(1.0, target[token] / q[token])
        if choice(np.array([accept, 1 - accept])) == 0:
            return token
        target = np.maximum(target - q, 0)
        target = target / target.sum()
    return choice(target)


def draft_two(choice, q):
    """Two children without replacement and the laws they were drawn from."""
    first = choice(q)
    rest = without(q, first)
    return [first, choice(rest)], [q, rest]


def correct_rejection(world, choice):
    """Control: sampled without replacement, checked against the laws they came from."""
    return [ratio_rule(choice, world.served(()), *draft_two(choice, draft_law(())))]


def top_k_checked_by_ratios(world, choice):
    """Children nobody drew, checked as though they had been (RSD-style on an EAGLE-2 tree)."""
    q = draft_law(())
    first, second = (int(token) for token in np.argsort(-q)[:2])
    return [ratio_rule(choice, world.served(()), [first, second], [q, without(q, first)])]


def own_draw_for_every_path(world, choice):
    """Each leaf's path draws for itself at shared nodes; the longest match wins (Medusa, REST)."""
    best = []
    for leaf in ((0, 1), (0, 2), (2, 0)):
        emitted = []
        for place in range(3):
            emitted.append(choice(world.served(tuple(emitted))))
            if place == 2 or emitted[-1] != leaf[place]:
                break
        if len(emitted) > len(best):
            best = emitted
    return best


def pruned_by_draft_score(world, choice):
    """A sampled child dropped after its token was seen."""
    q = draft_law(())
    children, _ = draft_two(choice, q)
    return [ratio_rule(choice, world.served(()), [max(children, key=lambda token: q[token])], [q])]


def walked(world, pick_law, stops=None):
    def program(choice):
        path, token = walk(
            TREE,
            lambda node: choice(pick_law(path_to(TREE, node), node)),
            world.stops if stops is None else stops,
        )
        return [*TREE.tokens[path[1:]].tolist(), token]

    return program


def unshaped_bonus(world, choice):
    """The token after a leaf is drawn from the raw softmax (nine public EAGLE descendants)."""

    def law(path, node):
        if node in TREE.parents:
            return world.served(path)
        raw = np.exp(world.row(path).astype(np.float64))
        return raw / raw.sum()

    return walked(world, law)(choice)


def penalties_of_the_root(world, choice):
    """One history for the whole tree instead of each node's own path."""
    return walked(world, lambda path, _: world.served(path, ()))(choice)


def redrawn_after_a_miss(world, choice):
    """The target's word is thrown away when no child carries it, and drawn again (RACER)."""
    chances = world.served(())
    token = choice(chances)
    return [token if token in (0, 2) else choice(chances)]


def past_the_end(world, choice):
    """The walk goes on below a stop token."""
    return walked(world, lambda path, _: world.served(path), stops=frozenset())(choice)


PENALISED = Sampling(presence_penalty=1.0, frequency_penalty=0.5, repetition_penalty=1.3)
MUTATIONS = [
    (top_k_checked_by_ratios, WARM, frozenset()),
    (own_draw_for_every_path, WARM, frozenset()),
    (pruned_by_draft_score, WARM, frozenset()),
    (unshaped_bonus, WARM, frozenset()),
    (penalties_of_the_root, PENALISED, frozenset()),
    (redrawn_after_a_miss, WARM, frozenset()),
    (past_the_end, WARM, frozenset({0})),
]


@pytest.mark.parametrize(("rule", "sampling", "stops"), MUTATIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_harness_catches(rule, sampling, stops, seed):
    world = World(sampling, seed=seed, stops=stops)
    assert world.distance(lambda choice: rule(world, choice)) > 0.005


@pytest.mark.parametrize(("sampling", "stops"), [mutation[1:] for mutation in MUTATIONS])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_harness_passes_what_is_right(sampling, stops, seed):
    world = World(sampling, seed=seed, stops=stops)
    assert world.distance(walked(world, lambda path, _: world.served(path))) < 1e-10
    assert world.distance(lambda choice: correct_rejection(world, choice)) < 1e-10
