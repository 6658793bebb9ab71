"""TokenTree against brute force over sets of paths."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmspec.core import tree as tree_module
from mmspec.core.tree import TokenTree


@st.composite
def trees(draw, root: int = 7, most: int = 20):
    """Any well-formed tree of at most ``most`` nodes over a few tokens."""
    tokens, parents, scores, taken = [root], [-1], [0.0], set()
    for _ in range(draw(st.integers(0, most - 1))):
        edge = draw(st.tuples(st.integers(0, len(tokens) - 1), st.integers(0, 3)))
        if edge not in taken:
            taken.add(edge)
            tokens.append(edge[1])
            parents.append(edge[0])
            scores.append(scores[edge[0]] - draw(st.sampled_from([0.0, 0.25, 1.0, 3.0])))
    source = draw(st.lists(st.integers(0, 3), min_size=len(tokens), max_size=len(tokens)))
    return TokenTree(
        np.array(tokens), np.array(parents, np.int32), np.array(scores, np.float32),
        np.array(source, np.uint8),
    )  # fmt: skip


def above(tree, node):
    """The node and its ancestors, from the root."""
    found = [node]
    while tree.parents[found[-1]] >= 0:
        found.append(int(tree.parents[found[-1]]))
    return found[::-1]


def paths(tree):
    """Path of tokens -> (score, source)."""
    return {
        tuple(tree.tokens[above(tree, node)].tolist()): (tree.scores[node], tree.source[node])
        for node in range(len(tree))
    }


def test_doctests():
    result = doctest.testmod(tree_module)
    assert result.attempted >= 2
    assert result.failed == 0


@given(trees(most=90))
def test_depths_and_ancestors(tree):
    tree.check()
    bits = tree.ancestors()
    assert bits.shape == (len(tree), -(-len(tree) // 64))
    assert bits.dtype == np.uint64
    for node, depth in enumerate(tree.depths()):
        line = above(tree, node)
        assert depth == len(line) - 1
        set_bits = [j for j in range(len(tree)) if int(bits[node, j // 64]) >> (j % 64) & 1]
        assert set_bits == sorted(line)


def test_ancestors_of_a_long_chain_use_several_words():
    bits = TokenTree.chain(np.arange(200)).ancestors()
    assert bits.shape == (200, 4)
    assert bits[130].tolist() == [2**64 - 1, 2**64 - 1, 0b111, 0]


@given(trees(), trees())
def test_merge_is_the_union_of_paths(ours, theirs):
    merged = ours.merge(theirs)
    merged.check()
    left, right, union = paths(ours), paths(theirs), paths(merged)
    assert union.keys() == left.keys() | right.keys()
    assert np.array_equal(merged.tokens[: len(ours)], ours.tokens)
    for path, (score, source) in union.items():
        mine, other = left.get(path, (-np.inf, 0)), right.get(path, (-np.inf, 0))
        assert score <= max(mine[0], other[0])
        if len(path) > 1:
            assert source == (other[1] if other[0] > mine[0] else mine[1])
    # Scores never rise downwards in either tree, so neither do the better ones of both.
    assert all(score == max(left.get(p, (-np.inf,))[0], right.get(p, (-np.inf,))[0])
               for p, (score, _) in union.items())  # fmt: skip


@given(trees())
def test_merge_with_itself_changes_nothing(tree):
    again = tree.merge(tree)
    for name in ("tokens", "parents", "scores", "source"):
        assert np.array_equal(getattr(again, name), getattr(tree, name))
        assert getattr(again, name).dtype == getattr(tree, name).dtype


def test_merge_refuses_other_roots():
    with pytest.raises(ValueError, match="roots"):
        TokenTree.root(1).merge(TokenTree.root(2))


@given(trees(), st.integers(-1, 25))
def test_prune_keeps_the_best_nodes_and_their_parents(tree, budget):
    pruned = tree.prune(budget)
    pruned.check()
    assert len(pruned) == min(len(tree), max(budget, 1))
    assert pruned.tokens[0] == tree.tokens[0]
    before, after = paths(tree), paths(pruned)
    assert all(before[path] == after[path] for path in after)
    # No closed set of that size has a larger sum: the sorted scores are the largest there are.
    best = np.sort(tree.scores)[::-1][: len(pruned)]
    assert np.array_equal(np.sort(pruned.scores)[::-1], best)


@given(trees(), st.integers(0, 6))
def test_truncate(tree, depth):
    short = tree.truncate(depth)
    short.check()
    assert paths(short) == {p: x for p, x in paths(tree).items() if len(p) <= depth + 1}


@given(trees(), st.data())
def test_without_drops_whole_branches(tree, data):
    size = len(tree)
    banned = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    left = tree.without(banned)
    left.check()
    spared = [n for n in range(size) if not any(banned[a] for a in above(tree, n) if a > 0)]
    assert len(left) == len(spared)
    assert paths(left) == {p: x for i, (p, x) in enumerate(paths(tree).items()) if i in set(spared)}
    assert paths(tree.select(np.array(spared))) == paths(left)


@pytest.mark.parametrize(
    ("tokens", "parents", "scores"),
    [
        ([], [], []),
        ([1], [0], [0.0]),
        ([1, 2, 3], [-1, 2, 0], [0.0, 0.0, 0.0]),
        ([1, 2, 3], [-1, -1, 0], [0.0, 0.0, 0.0]),
        ([1, 2, 2], [-1, 0, 0], [0.0, 0.0, 0.0]),
        ([1, 2], [-1, 0], [0.0, 0.5]),
        ([1, 2], [-1, 0], [0.0, float("nan")]),
    ],
)
def test_check_refuses(tokens, parents, scores):
    tree = TokenTree(
        np.array(tokens, np.int64), np.array(parents, np.int32), np.array(scores, np.float32),
        np.zeros(len(tokens), np.uint8),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"tree|parents|siblings|scores"):
        tree.check()


def test_chain_and_root():
    chain = TokenTree.chain(np.array([5, 6, 7]), np.array([0.0, -1.0, -2.0]), source=3)
    chain.check()
    assert chain.depths().tolist() == [0, 1, 2]
    assert chain.source.tolist() == [3, 3, 3]
    assert TokenTree.root(4).tokens.tolist() == [4]


def test_who_guessed_a_tree_is_read_off_its_guesses():
    tree = TokenTree.chain(np.array([7, 8, 9]), source=2)
    assert tree.guessed_by(0b100)
    assert not tree.guessed_by(0b011)
    assert not tree.select(np.array([0])).guessed_by(0b100)  # a root is nobody's guess
