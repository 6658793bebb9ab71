"""Growth against exhaustive search over a small scorer."""

import numpy as np
import pytest
import torch
from core.toy import Toy, sequence, step
from hypothesis import given
from hypothesis import strategies as st
from plain_children import children

from mmspec.core.drafter import Budget
from mmspec.core.grow import Level, grow
from mmspec.core.request import Sampling
from mmspec.core.tree import TokenTree

K = 3
budgets = st.builds(Budget, st.integers(0, 12), st.integers(0, 4))


def below(rows, level):
    """Paths of a level's nodes, made from those of the level before."""
    return [(*rows[p], int(t)) for p, t in zip(level.parents, level.tokens, strict=True)]


class Scorer:
    """Log-probabilities that depend on the whole path; remembers what it was asked."""

    def __init__(self, seed, roots):
        self.seed, self.roots = seed, roots
        self.rows, self.levels = [], []

    def chances(self, path):
        rng = np.random.default_rng([self.seed, *path])
        row = np.log(rng.dirichlet(np.ones(K))).astype(np.float32)
        row[rng.random(K) < 0.15] = -np.inf
        return row

    def __call__(self, level: Level):
        self.levels.append(level)
        if level.depth == 0:
            self.rows = [(int(self.roots[b]),) for b in level.owner]
        else:
            self.rows = below(self.rows, level)
        assert [row[0] for row in self.rows] == self.roots[level.owner].tolist()
        assert [row[-1] for row in self.rows] == level.tokens.tolist()
        tokens = np.tile(np.arange(K), (len(self.rows), 1))
        return tokens, np.stack([self.chances(row) for row in self.rows])


def everything(scorer, root, depth):
    """All nodes as (path, score), the root first."""
    layer = [((root,), np.float32(0))]
    found = list(layer)
    for _ in range(depth):
        layer = [
            ((*path, token), score + value)
            for path, score in layer
            for token, value in enumerate(scorer.chances(path))
            if np.isfinite(value)
        ]
        found += layer
    return found


@given(st.lists(budgets, min_size=1, max_size=3), st.integers(0, 500))
def test_it_finds_the_best_tree_of_each_budget(limits, seed):
    roots = np.arange(len(limits)) + 5
    scorer = Scorer(seed, roots)
    trees = grow(roots, limits, scorer, width=10**6)
    for index, (tree, limit) in enumerate(zip(trees, limits, strict=True)):
        tree.check()
        assert tree.tokens[0] == roots[index]
        assert tree.depths().max() <= limit.depth
        whole = everything(scorer, int(roots[index]), limit.depth if limit.nodes > 1 else 0)
        best = sorted((score for _, score in whole), reverse=True)[: max(limit.nodes, 1)]
        assert np.sort(tree.scores)[::-1].tolist() == np.array(best, np.float32).tolist()
        assert (tree.tokens.dtype, tree.parents.dtype) == (np.int64, np.int32)


@given(st.lists(budgets, min_size=1, max_size=4), st.integers(0, 500), st.integers(1, 3))
def test_width_and_stops_hold_on_every_level(limits, seed, width):
    roots = np.arange(len(limits)) + 5
    scorer = Scorer(seed, roots)
    trees = grow(roots, limits, scorer, width=width, stops=frozenset({1}))
    for level in scorer.levels:
        assert np.bincount(level.owner).max() <= max(width, 1)
        assert not np.any(level.tokens == 1)
        assert np.all(np.diff(level.owner) >= 0)
    for tree, limit in zip(trees, limits, strict=True):
        tree.check()
        assert len(tree) <= max(limit.nodes, 1)
        assert not np.any(tree.tokens[tree.parents[1:]] == 1)


@given(st.lists(budgets, min_size=2, max_size=4), st.integers(0, 500))
def test_a_tree_does_not_depend_on_its_batch(limits, seed):
    roots = np.arange(len(limits)) + 5
    together = grow(roots, limits, Scorer(seed, roots), width=2)
    for index, tree in enumerate(together):
        own = roots[index : index + 1]
        [alone] = grow(own, [limits[index]], Scorer(seed, own), width=2)
        assert alone.tokens.tolist() == tree.tokens.tolist()
        assert alone.parents.tolist() == tree.parents.tolist()


def test_no_budget_asks_nothing():
    def never(level):
        raise AssertionError(level)

    trees = grow(np.array([3, 4]), [Budget(1, 5), Budget(5, 0)], never)
    assert [tree.tokens.tolist() for tree in trees] == [[3], [4]]
    assert grow(np.zeros(0, np.int64), [], never) == []


def test_hopeless_numbers_grow_nothing():
    def nothing(level):
        return np.zeros((len(level.tokens), 2), np.int64), np.array([[np.nan, -np.inf]], np.float32)

    assert len(grow(np.array([3]), [Budget(9, 3)], nothing)[0]) == 1


def level_of(count, depth=0):
    return Level(np.arange(count), np.zeros(count, np.int64), np.full(count, -1), depth)


def test_greedy_children_are_the_most_likely():
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    texts = [sequence(Sampling(temperature=0.0)) for _ in range(3)]
    tokens, chances = children(logits, level_of(3), texts, 4)
    best = torch.log_softmax(logits, -1).topk(4)
    assert tokens.tolist() == best.indices.tolist()
    assert np.allclose(chances, best.values)
    assert (tokens.dtype, chances.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("warmth", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("reach", [40, 256])
def test_sampled_children_foresee_the_targets_draw(warmth, reach):
    """With the target's own logits the first child is the very token it will draw."""
    toy = Toy(40, spread=1.0)
    for seed in range(20):
        text = sequence(Sampling(temperature=warmth), seed=seed, choice=seed % 3)
        for _ in range(3):
            logits = toy.logits(text, TokenTree.root(int(text.tokens[-1])))
            tokens, chances = children(logits, level_of(1), [text], 5, reach=reach)
            assert np.all(np.diff(chances) <= 0)
            assert np.exp(chances.astype(np.float64)).sum() <= 1 + 1e-5
            step(toy, [text], [TokenTree.root(int(text.tokens[-1]))], frozenset())
            assert text.tokens[-1] == tokens[0, 0]


def test_a_grown_tree_of_a_perfect_drafter_is_accepted_to_its_depth():
    toy = Toy(30, spread=1.0)
    for seed, warmth in enumerate([0.0, 0.5, 1.0]):
        sampling = Sampling(temperature=warmth)
        text = sequence(sampling, seed=seed)
        context = tuple(text.tokens.tolist())
        rows: list[tuple[int, ...]] = []

        def expand(level, rows=rows, context=context, text=text):
            rows[:] = [context] if level.depth == 0 else below(rows, level)
            logits = torch.from_numpy(np.stack([toy.row(row) for row in rows]))
            return children(logits, level, [text], 3)

        [tree] = grow(text.tokens[-1:], [Budget(40, 3)], expand)
        verdict = step(toy, [text], [tree], frozenset())
        assert verdict.counts.tolist() == [4]


@pytest.mark.parametrize("least", [0.02, 0.2, 0.6])
def test_nodes_of_little_chance_are_not_expanded(least):
    """They may stand in the tree, but nobody is asked what follows them."""
    roots = np.arange(3)
    scorer = Scorer(11, roots)
    trees = grow(roots, [Budget(12, 4)] * 3, scorer, 4, least=least)
    eager = Scorer(11, roots)
    free = grow(roots, [Budget(12, 4)] * 3, eager, 4)
    asked, most = (sum(len(one.owner) for one in s.levels) for s in (scorer, eager))
    assert asked < most if least > 0.1 else asked <= most
    for tree, whole in zip(trees, free, strict=True):
        inner = np.unique(tree.parents[1:])
        assert (np.exp(tree.scores[inner]) >= np.float32(least) * (1 - 1e-6)).all()
        assert len(tree) <= len(whole)
