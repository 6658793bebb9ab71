"""The bitwise level: a node of any tree in any batch has the very logits plain decoding gives."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from drafting import random_tree

from mmspec.core.drafter import Budget
from mmspec.core.request import Prompt, Request
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.model.batch import pack_trees
from mmspec.model.cache import chunk_keys
from mmspec.model.prefill import Prefill

CHUNK, REACH = 32, 16
LENGTHS = (3, 70, 78, 140)  # trees after them stand before, across and after moving splits


class Desk:
    """A target, a cache, and steps made by hand."""

    def __init__(self, target, reach=REACH):
        self.target = target
        self.reach = reach
        self.cache = target.new_cache(2048, CHUNK, 64)

    def open(self, id, prompt):
        """A sequence whose prompt is prefilled, or found in the cache as far as it is known."""
        one = Sequence(Request(id, prompt), 0, 0)
        keys = chunk_keys(prompt, CHUNK)[: (len(one) - 1) // CHUNK]
        self.cache.open(one.id, len(one) + 100)
        prefill = Prefill(self.target, one)
        one.cached = one.reused = self.cache.match(one.id, keys)
        while one.pending > 1:
            stop = min((one.cached // CHUNK + 1) * CHUNK, len(one) - 1)
            self.target.forward(prefill.chunk(stop, self.cache), self.cache)
            self.cache.commit(one.id, np.arange(stop - one.cached))
            one.cached = stop
            self.cache.remember(one.id, keys[: stop // CHUNK])
        return one

    def logits(self, sequences, trees):
        """Rows of all trees, split by tree."""
        batch = pack_trees(
            sequences, trees, self.cache, reach=self.reach,
            grouped=self.target.numerics == "bitwise", axes=self.target.family.axes,
        )  # fmt: skip
        rows = self.target.forward(batch, self.cache).logits
        return rows.split([len(tree) for tree in trees])

    def keep(self, one, tree, path):
        """Commit a path of the tree just verified; the next root is a token of the path's end."""
        self.cache.commit(one.id, np.array(path))
        one.cached += len(path)
        one.extend(np.append(tree.tokens[path[1:]], 7))

    def plainly(self, one, tree):
        """The tree's nodes one at a time, each after its own path and nothing else."""
        rows, extent = [], self.cache._extents[one.id]
        before = len(one), one.cached
        for node in range(len(tree)):
            path = path_to(tree, node)
            one.cached = before[1] + len(path) - 1
            one._length = before[0]
            one.extend(tree.tokens[path[1:]])
            extent.used = one.cached  # the path above was written when its nodes had their turn
            if node and tree.parents[node] != node - 1:
                self._rewrite(one, tree, path, before[1])
            rows.append(self.logits([one], [TokenTree.root(int(tree.tokens[node]))])[0][0])
        one._length, one.cached = before
        extent.used = one.cached
        return torch.stack(rows)

    def _rewrite(self, one, tree, path, cached):
        """Decode the path above a node again: another branch stood in its slots meanwhile."""
        extent = self.cache._extents[one.id]
        length = len(one)
        for depth, node in enumerate(path[:-1]):
            one.cached = extent.used = cached + depth
            one._length = length - (len(path) - 1 - depth)
            self.logits([one], [TokenTree.root(int(tree.tokens[node]))])
        one.cached = extent.used = cached + len(path) - 1
        one._length = length


def path_to(tree, node):
    path = []
    while node >= 0:
        path.append(int(node))
        node = tree.parents[node]
    return path[::-1]


def given(name):
    if name in tiny.SEEING:
        return (*tiny.prompts(name), tiny.prompts(name)[1])
    draw = np.random.default_rng(5)
    return tuple(Prompt(draw.integers(1, 150, length)) for length in LENGTHS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
@pytest.mark.parametrize("name", ["wide", "qwen3", "mistral", "gemma3_text", "qwen3_vl"])
def test_a_node_of_a_tree_has_the_bits_of_plain_decoding(name, dtype):
    target = tiny.target(name, dtype=dtype)
    guessing, plain = Desk(target), Desk(target)
    prompts = given(name)
    for index, prompt in enumerate(prompts):  # so that the next ones are found
        guessing.cache.free(guessing.open(f"warm{index}", prompt).id)
    many = [guessing.open(f"many{index}", prompt) for index, prompt in enumerate(prompts)]
    alone = guessing.open("alone", prompts[1])
    assert sum(one.reused for one in (*many, alone)) > 0
    plains = [plain.open(f"plain{index}", prompt) for index, prompt in enumerate(prompts)]
    dice = np.random.default_rng(1)
    for _ in range(3):
        trees = [
            random_tree(dice, int(one.tokens[-1]), Budget(int(dice.integers(1, 25)), 12), 150)
            for one in many
        ]
        rows = guessing.logits(many, trees)
        lonely = guessing.logits([alone], [trees[1]])[0]
        assert torch.equal(lonely, rows[1])
        for one, other, tree, found in zip(many, plains, trees, rows, strict=True):
            assert torch.equal(found, plain.plainly(other, tree))
            path = path_to(tree, int(dice.integers(len(tree))))
            if one is many[1]:
                guessing.keep(alone, tree, path)
            guessing.keep(one, tree, path)
            for node in path:  # plain decoding writes the same text token by token
                plain.logits([other], [TokenTree.root(int(tree.tokens[node]))])
                plain.cache.commit(other.id, np.array([0]))
                other.cached += 1
                other.extend(tree.tokens[[path[path.index(node) + 1]]] if node != path[-1] else [7])


@pytest.mark.parametrize("change", ["near-tie", "split"])
def test_the_comparison_can_fail(change):
    """Bits do differ at the near-tie level, and where keys are divided elsewhere."""
    numerics = "near-tie" if change == "near-tie" else "bitwise"
    dtype = torch.float32 if change == "near-tie" else torch.bfloat16
    target = tiny.target("wide", numerics, dtype)
    desk, other = Desk(target), Desk(target, REACH if change == "near-tie" else 60)
    prompt = given("wide")[3]
    one, plain = desk.open("one", prompt), other.open("plain", prompt)
    tree = random_tree(np.random.default_rng(1), int(one.tokens[-1]), Budget(24, 12), 150)
    rows, wanted = desk.logits([one], [tree])[0], other.plainly(plain, tree)
    torch.testing.assert_close(rows, wanted, atol=0.3, rtol=0.1)
    assert not torch.equal(rows, wanted)
