"""The production path, real noise and all, against the exact law of its texts."""

import numpy as np
import pytest
import torch
from core.exact import LENGTH, World, path_to, tree_of
from core.toy import sequence

from mmspec.core.request import Sampling
from mmspec.core.tree import TokenTree
from mmspec.core.verify import verify

DRAWS = 3_000
SHAPES = {"alone": tree_of([]), "tree": tree_of([(0, 1, 2), (0, 0), (2, 0), (1,)])}
SAMPLINGS = {
    "warm": Sampling(temperature=0.7),
    "top_k": Sampling(top_k=2),
    "top_p": Sampling(top_p=0.9),
    "min_p": Sampling(min_p=0.2),
    "penalties": Sampling(repetition_penalty=1.5, presence_penalty=0.5, frequency_penalty=0.5),
}


def sample(world, shape, seeds):
    """How often each text of LENGTH tokens came out: int64 [V ** LENGTH]."""
    texts = [sequence(world.sampling, prompt=(0, 1), seed=seed) for seed in seeds]
    paths = [path_to(shape, node) for node in range(len(shape))]
    tables = {}
    while going := [text for text in texts if len(text.output) < LENGTH]:
        outputs = [tuple(text.output.tolist()) for text in going]
        for output in set(outputs).difference(tables):
            rows = [world.row((*output, *path)) for path in paths]
            tables[output] = torch.from_numpy(np.stack(rows))
        tokens = [np.append(text.tokens[-1], shape.tokens[1:]) for text in going]
        trees = [TokenTree(row, shape.parents, shape.scores, shape.source) for row in tokens]
        verdict = verify(trees, torch.cat([tables[output] for output in outputs]), going)
        for index, text in enumerate(going):
            path = verdict.kept[index, 1 : verdict.counts[index]]
            text.extend(np.append(shape.tokens[path], verdict.next[index]))
    size = (world.vocabulary,) * LENGTH
    cells = [np.ravel_multi_index(text.output[:LENGTH], size) for text in texts]
    return np.bincount(cells, minlength=world.vocabulary**LENGTH)


def surprise(counts, law):
    """Chi-square in standard deviations; cells with few expected draws are put together."""
    expected = law * counts.sum()
    assert not counts[law == 0].any(), "something impossible was emitted"
    large = expected >= 5
    seen = np.append(counts[large], counts[~large].sum())
    due = np.append(expected[large], expected[~large].sum())
    seen, due = seen[due > 0], due[due > 0]
    freedom = len(seen) - 1
    return (np.sum((seen - due) ** 2 / due) - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SAMPLINGS)
def test_texts_have_the_served_law(name, shape):
    world = World(SAMPLINGS[name], vocabulary=3, seed=5)
    counts = sample(world, SHAPES[shape], range(DRAWS))
    assert abs(surprise(counts, world.extended(()))) < 4


def test_the_statistic_has_power():
    """A law a little warmer than the one that spoke is refused."""
    world = World(Sampling(temperature=0.7), vocabulary=3, seed=5)
    other = World(Sampling(temperature=0.8), vocabulary=3, seed=5)
    counts = sample(world, SHAPES["tree"], range(DRAWS))
    assert surprise(counts, other.extended(())) > 6


def test_neighbouring_positions_choices_and_seeds_are_unrelated():
    """Token pairs drawn under neighbouring keys from one row have the product law."""
    row = torch.tensor([[1.0, 0.5, 0.0, -0.5]])
    chances = torch.softmax(row[0].double(), 0).numpy()
    chances /= chances.sum()

    def drawn(seed, choice, position):
        text = sequence(Sampling(), prompt=(0,) * position, choice=choice, seed=seed)
        return int(verify([TokenTree.root(0)], row, [text]).next[0])

    for step in [(1, 0, 0), (0, 1, 0), (0, 0, 1)]:
        pairs = np.zeros(16)
        for seed in range(0, 2 * DRAWS, 2):
            here, there = (seed, 0, 2), (seed + step[0], step[1], 2 + step[2])
            pairs[4 * drawn(*here) + drawn(*there)] += 1
        assert abs(surprise(pairs, np.outer(chances, chances).ravel())) < 4
