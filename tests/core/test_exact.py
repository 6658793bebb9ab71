"""The walk emits the served law, exactly, for every small tree and every way to choose one."""

from itertools import product

import numpy as np
import pytest
from core.exact import World, all_trees, path_to, tree_of
from core.toy import random_tree

from mmspec.core.request import Sampling
from mmspec.core.verify import walk

SAMPLINGS = {
    "plain": Sampling(),
    "warm": Sampling(temperature=0.7),
    "greedy": Sampling(temperature=0.0),
    "top_k": Sampling(top_k=2),
    "top_p": Sampling(temperature=1.5, top_p=0.8),
    "min_p": Sampling(min_p=0.3),
    "penalties": Sampling(repetition_penalty=1.5, presence_penalty=0.7, frequency_penalty=0.4),
    "bans": Sampling(bad_words=((1, 1), (0, 2), (2,)), logit_bias={1: 0.7}),
    "min_tokens": Sampling(min_tokens=2, stop_token_ids=(0,)),
}


def walked(world, tree, draws=None):
    """The rule under test as a program; ``draws`` remembers what the target said where."""

    def program(choice):
        said = {} if draws is None else draws

        def pick(node):
            path = path_to(tree, node)
            if path not in said:
                said[path] = choice(world.served(path))
            return said[path]

        path, token = walk(tree, pick, world.stops)
        return [*tree.tokens[path[1:]].tolist(), token]

    return program


def worst(world, trees):
    return max((world.distance(walked(world, tree)) for tree in trees), default=0.0)


def world_of(name, vocabulary=3, seed=0):
    stops = frozenset({0}) if name == "min_tokens" else frozenset()
    return World(SAMPLINGS[name], vocabulary, seed, stops)


def test_there_are_as_many_trees_as_there_should_be():
    assert len(list(all_trees(2, 3))) == 676  # t(d) = (1 + t(d - 1)) ** V
    assert len(list(all_trees(3, 2))) == 729
    assert len(list(all_trees(3, 5, 4))) == 1 + 3 + 12 + 55


@pytest.mark.parametrize("name", [name for name in SAMPLINGS if name != "bans"])
def test_every_tree_of_two_words_to_depth_three(name):
    assert worst(world_of(name, vocabulary=2), all_trees(2, 3)) < 1e-10


@pytest.mark.parametrize("name", ["warm", "penalties", "min_tokens"])
def test_every_tree_of_three_words_to_depth_two(name):
    assert worst(world_of(name, seed=1), all_trees(3, 2)) < 1e-10


@pytest.mark.parametrize("name", SAMPLINGS)
def test_small_trees_of_three_words_to_depth_three(name):
    assert worst(world_of(name, seed=2), all_trees(3, 3, 4)) < 1e-10


@pytest.mark.parametrize("name", SAMPLINGS)
@pytest.mark.parametrize("vocabulary", [3, 4])
def test_the_full_tree_and_random_ones_to_depth_three(name, vocabulary):
    world, rng = world_of(name, vocabulary, seed=3), np.random.default_rng(0)
    whole = tree_of(list(product(range(vocabulary), repeat=3)))
    trees = [whole] + [random_tree(rng, 1, 25, vocabulary).truncate(3) for _ in range(12)]
    assert len(whole) == sum(vocabulary**depth for depth in range(4))
    assert worst(world, trees) < 1e-10


def peeking(world, keyed):
    """A drafter that sees the target's next draws before it chooses its tree.

    With ``keyed`` noise the steps after this one find the very draws that were peeked at.
    """
    trees = list(all_trees(3, 2))

    def program(choice):
        draws = {}
        for path in [(), (0,), (1,), (2,)]:
            draws[path] = choice(world.served(path))
        spite = sum(3**place * token for place, token in enumerate(draws.values()))
        emitted = walked(world, trees[spite * 7 % len(trees)], draws)(choice)
        while keyed and tuple(emitted) in draws and not world.stops.intersection(emitted):
            emitted.append(draws[tuple(emitted)])
        return emitted

    return program


@pytest.mark.parametrize("name", ["plain", "penalties", "min_tokens"])
def test_a_tree_may_depend_on_what_the_target_will_say(name):
    assert world_of(name, seed=4).distance(peeking(world_of(name, seed=4), keyed=True)) < 1e-10


def test_but_only_because_noise_is_keyed_by_position():
    world = world_of("plain", seed=4)
    assert world.distance(peeking(world, keyed=False)) > 0.001
