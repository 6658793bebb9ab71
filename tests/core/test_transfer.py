"""Transfer: the text has exactly the tilted law, whatever the tree; the paper's rule does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from core.exact import LENGTH, World, all_trees, path_to, tree_of
from core.test_statistics import surprise
from core.toy import Toy, random_tree, sequence

from mmspec.core.errors import BadRequestError, EngineFaultError
from mmspec.core.history import History
from mmspec.core.request import MAX_TRANSFER, Sampling, Speculation
from mmspec.core.sampling import Law, law
from mmspec.core.transfer import SHARE, chances, tilt, tilted_law, walk_tilted
from mmspec.core.tree import TokenTree
from mmspec.core.verify import verify, walk

SAMPLINGS = {
    "plain": Sampling(),
    "warm": Sampling(temperature=0.7),
    "greedy": Sampling(temperature=0.0),
    "top_k": Sampling(top_k=2),
    "top_p": Sampling(temperature=1.5, top_p=0.8),
    "penalties": Sampling(repetition_penalty=1.5, presence_penalty=0.7, frequency_penalty=0.4),
    "min_tokens": Sampling(min_tokens=2, stop_token_ids=(0,)),
}


class Tilted(World):
    """A toy target whose texts are to have the tilted law."""

    def __init__(self, sampling, eta, vocabulary=3, seed=0, stops=frozenset()):
        super().__init__(sampling, vocabulary, seed, stops)
        self.teacher, self.eta = Toy(vocabulary, seed=seed + 100, spread=1.5), eta

    def said(self, path):
        """The drafter's logits after a path: float32 [V]."""
        return self.teacher.row((*self.text.tokens.tolist(), *path))

    def _served(self, path, history=None):
        before = History.of(self.text, self.vocabulary)
        for token in path:
            before.push(token)
        rows = self.row(path), self.said(path)
        found = tilted_law(rows, self.sampling, before, self.stops, self.eta)
        dense = np.zeros(self.vocabulary)
        dense[found.tokens] = chances(found)
        return dense


def walked(world, tree, law_at=None):
    """The rule under test as a program."""

    def program(choice):
        def pick(node):
            return choice((law_at or (lambda _: world.served))(node)(path_to(tree, node)))

        path, token = walk(tree, pick, world.stops)
        return [*tree.tokens[path[1:]].tolist(), token]

    return program


def world_of(name, eta=5.0, vocabulary=3, seed=0):
    stops = frozenset({0}) if name == "min_tokens" else frozenset()
    return Tilted(SAMPLINGS[name], eta, vocabulary, seed, stops)


@pytest.mark.parametrize("eta", [0.0, 3.0, 10.0, 20.0])
def test_the_tilted_law_is_the_formula(eta):
    """Against a dense softmax in float64; the drafter may allow what the target does not."""
    dice = np.random.default_rng(3)
    for _ in range(50):
        z, zq = dice.normal(0, 2, (2, 12))
        z[dice.integers(0, 12, 3)] = zq[dice.integers(0, 12, 3)] = -np.inf
        p, q = (np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in (z, zq))
        want = np.exp(z - z.max() + eta * (q >= SHARE * q.max()) * (q - p))
        laws = [Law(np.flatnonzero(row > -np.inf), row[row > -np.inf] - row.max())
                for row in (z.astype(np.float32), zq.astype(np.float32))]  # fmt: skip
        got = tilt(*laws, eta)
        dense = np.zeros(12)
        dense[got.tokens] = chances(got)
        np.testing.assert_allclose(dense, want / want.sum(), atol=2e-6)


def test_at_temperature_0_it_is_the_argmax_of_the_sum_at_1():
    dice, changed = np.random.default_rng(0), 0
    greedy = Sampling(temperature=0.0, top_k=1)
    for _ in range(100):
        z, zq = dice.normal(0, 1, (2, 9)).astype(np.float32)
        p, q = (np.exp(row) / np.exp(row).sum() for row in (z, zq))
        want = int(np.argmax(z + 10.0 * (q >= SHARE * q.max()) * (q - p)))
        history = History(np.array([1, 2]), 2, 9)
        got = tilted_law((z, zq), greedy, history, frozenset(), 10.0)
        assert got.tokens.tolist() == [want]
        changed += want != int(np.argmax(z))
    assert 20 < changed < 100


@pytest.mark.parametrize("name", SAMPLINGS)
def test_every_small_tree_emits_the_tilted_law(name):
    """Leaves, whose draw is the bonus, included."""
    world = world_of(name, vocabulary=2)
    assert max(world.distance(walked(world, tree)) for tree in all_trees(2, 3)) < 1e-10
    world = world_of(name, seed=2)
    assert max(world.distance(walked(world, tree)) for tree in all_trees(3, 3, 4)) < 1e-10


def test_it_is_another_law_than_the_targets():
    """As far from it as eta is large, and nothing at 0."""
    far = []
    for eta in (0.0, 1.0, 10.0):
        world, plain = world_of("plain", eta), World(SAMPLINGS["plain"])
        far.append(0.5 * np.abs(world.extended(()) - plain.extended(())).sum())
    assert far[0] == 0
    assert 0.02 < far[1] < far[2]


def test_a_bonus_by_the_targets_own_law_is_found_out():
    """The text would have neither law, and depend on the tree."""
    world, tree = world_of("plain"), tree_of([(0, 1), (1,)])
    plain = World(SAMPLINGS["plain"])
    leaves = set(range(len(tree))) - set(tree.parents.tolist())
    program = walked(world, tree, lambda node: (plain if node in leaves else world).served)
    assert world.distance(program) > 0.01
    assert plain.distance(program) > 0.01


def papers_rule(world, plain):
    """One draft: accepted against the tilted law, else drawn from (p - min(tilted, q))+."""

    def program(choice):
        q = np.exp(world.said(()).astype(np.float64))
        q /= q.sum()
        p, tilted = plain.served(()), world.served(())
        token = choice(q)
        keep = min(1.0, tilted[token] / q[token])
        if choice(np.array([keep, 1 - keep])) == 0:
            return [token]
        rest = np.maximum(p - np.minimum(tilted, q), 0)
        return [choice(rest / rest.sum())]

    return program


def test_the_papers_residual_gives_neither_law():
    world, plain = world_of("plain", eta=10.0), World(SAMPLINGS["plain"])
    assert plain.distance(papers_rule(world, plain)) > 0.02
    assert world.distance(papers_rule(world, plain)) > 0.02


def emitted(world, shape, seeds):
    """How often each text came out of the production walk: int64 [V ** LENGTH]."""
    cells = []
    for seed in seeds:
        text = sequence(world.sampling, prompt=(0, 1), seed=seed)
        while len(text.output) < LENGTH:
            root, before = int(text.tokens[-1]), tuple(text.output.tolist())
            tokens = np.append(root, shape.tokens[1:])
            tree = TokenTree(tokens, shape.parents, shape.scores, shape.source)
            paths = [(*before, *path_to(tree, node)) for node in range(len(tree))]
            rows = (
                np.stack([world.row(p) for p in paths]),
                np.stack([world.said(p) for p in paths]),
            )
            path, token = walk_tilted(tree, rows, text, world.stops, world.eta)
            text.extend(np.append(tree.tokens[path[1:]], token))
        cells.append(np.ravel_multi_index(text.output[:LENGTH], (world.vocabulary,) * LENGTH))
    return np.bincount(cells, minlength=world.vocabulary**LENGTH)


@pytest.mark.parametrize("name", ["warm", "top_p"])
def test_the_production_walk_has_the_tilted_law(name):
    """And to the token the same texts with a tree and without."""
    world, shape = world_of(name, seed=5), tree_of([(0, 1, 2), (0, 0), (2, 0), (1,)])
    counts = emitted(world, shape, range(1500))
    assert surprise(counts, world.extended(())) < 4
    assert surprise(counts, World(SAMPLINGS[name], seed=5).extended(())) > 10
    assert np.array_equal(counts, emitted(world, tree_of([]), range(1500)))


@pytest.mark.parametrize("name", [*SAMPLINGS, "min_p"])
def test_eta_0_is_verify_to_the_bit(name):
    sampling = SAMPLINGS.get(name, Sampling(min_p=0.2))
    dice, toy, teacher = np.random.default_rng(1), Toy(40, 0, 3.0), Toy(40, 9, 3.0)
    for seed in range(20):
        text = sequence(sampling, seed=seed)
        tree = random_tree(dice, 0, 12, 40)
        rows, said = toy.logits(text, tree), teacher.logits(text, tree)
        stops = frozenset({0}) if name == "min_tokens" else frozenset()
        path, token = walk_tilted(tree, (rows.numpy(), said.numpy()), text, stops, 0.0)
        verdict = verify([tree], rows, [text], stops)
        assert path == verdict.kept[0, : verdict.counts[0]].tolist()
        assert token == verdict.next[0]
        history = History.of(text, 40)
        ours = tilted_law((rows[0].numpy(), said[0].numpy()), sampling, history, stops, 0.0)
        plain = law(rows[0].numpy(), sampling, history, stops)
        assert ours.tokens.tobytes() == plain.tokens.tobytes()
        assert np.array_equal(ours.weights, plain.weights)


def test_a_tilt_without_bounds_is_refused():
    Speculation(transfer=MAX_TRANSFER).check()
    for eta in (-1.0, MAX_TRANSFER + 1, float("nan"), float("inf")):
        with pytest.raises(BadRequestError) as refused:
            Speculation(transfer=eta).check()
        assert refused.value.param == "speculation.transfer"


def test_broken_laws_of_the_drafter_are_a_fault_not_a_text():
    text, tree = sequence(Sampling()), TokenTree.root(0)
    rows = torch.zeros(1, 5).numpy(), np.full((1, 5), np.nan, np.float32)
    with pytest.raises(EngineFaultError):
        walk_tilted(tree, rows, text, frozenset(), 5.0)
