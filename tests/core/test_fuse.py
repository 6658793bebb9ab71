"""Fusing against the union of paths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmspec.core.drafter import Budget
from mmspec.core.fuse import fuse
from mmspec.core.tree import TokenTree

ROOT = 7


@st.composite
def trees(draw, source: int = 0):
    size = draw(st.integers(1, 14))
    tokens, parents, scores = [ROOT], [-1], [0.0]
    for _ in range(1, size):
        parent = draw(st.integers(0, len(tokens) - 1))
        token = draw(st.integers(0, 3))
        if (parent, token) not in zip(parents, tokens, strict=True):
            tokens.append(token)
            parents.append(parent)
            scores.append(scores[parent] - draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0])))
    count = len(tokens)
    return TokenTree(
        np.array(tokens, np.int64),
        np.array(parents, np.int32),
        np.array(scores, np.float32),
        np.full(count, source, np.uint8),
    )


groups = st.integers(1, 4).flatmap(lambda n: st.tuples(*[trees(source) for source in range(n)]))


def paths(tree: TokenTree) -> dict[tuple[int, ...], float]:
    """Path from the root -> score."""
    found: list[tuple[int, ...]] = []
    for parent, token in zip(tree.parents, tree.tokens, strict=True):
        found.append((*found[parent], int(token)) if parent >= 0 else ())
    return dict(zip(found, tree.scores.tolist(), strict=True))


@settings(max_examples=200, deadline=None)
@given(groups, st.integers(1, 30), st.integers(0, 6))
def test_the_best_paths_of_the_union(group, nodes, depth):
    fused = fuse(group, Budget(nodes, depth))
    fused.check()
    union: dict[tuple[int, ...], float] = {}
    for tree in group:
        for path, score in paths(tree).items():
            if len(path) <= depth:
                union[path] = max(score, union.get(path, -np.inf))
    kept = paths(fused)
    assert len(kept) == min(nodes, len(union))
    assert all(union[path] == score for path, score in kept.items())
    assert sorted(kept.values()) == sorted(union.values())[-len(kept) :]


@settings(max_examples=100, deadline=None)
@given(groups)
def test_every_node_names_who_gave_its_score(group):
    fused = fuse(group, Budget(100, 100))
    given_by = [paths(tree) for tree in group]
    for path, source in list(zip(paths(fused), fused.source, strict=True))[1:]:
        best = max(scores.get(path, -np.inf) for scores in given_by)
        assert given_by[source][path] == best
        assert all(scores.get(path, -np.inf) < best for scores in given_by[:source])


@settings(max_examples=50, deadline=None)
@given(groups)
def test_inputs_stay_as_they_were(group):
    before = [[array.copy() for array in tree._arrays()] for tree in group]
    fuse(group, Budget(5, 3))
    for tree, arrays in zip(group, before, strict=True):
        assert all(map(np.array_equal, tree._arrays(), arrays))


def test_roots_alone_stay_a_root():
    assert len(fuse([TokenTree.root(1), TokenTree.root(1)], Budget(16, 12))) == 1


def test_no_tree_and_different_roots_are_refused():
    with pytest.raises(ValueError, match="root"):
        fuse([], Budget(16, 12))
    with pytest.raises(ValueError, match="root"):
        fuse([TokenTree.root(1), TokenTree.root(2)], Budget(16, 12))
