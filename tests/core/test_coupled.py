"""Speculation never changes a text: ids equal plain decoding for any tree, any batch."""

import numpy as np
import pytest
from core.toy import Toy, random_tree, sequence, step

from mmspec.core.request import Sampling
from mmspec.core.tree import TokenTree

FEATURES = {
    "greedy": Sampling(temperature=0.0),
    "plain": Sampling(),
    "cold": Sampling(temperature=0.3),
    "top_k": Sampling(top_k=3),
    "top_p": Sampling(top_p=0.8),
    "min_p": Sampling(min_p=0.1),
    "filters": Sampling(temperature=1.4, top_k=5, top_p=0.9, min_p=0.05),
    "repetition": Sampling(repetition_penalty=1.5),
    "presence": Sampling(presence_penalty=1.5, frequency_penalty=0.7),
    "bias": Sampling(logit_bias={2: 3.0, 4: -100.0}),
    "bad_words": Sampling(bad_words=((3,), (1, 2), (5, 5, 0))),
    "min_tokens": Sampling(min_tokens=9, stop_token_ids=(4,)),
    "ignore_eos": Sampling(ignore_eos=True, stop_token_ids=(1,)),
    "greedy_all": Sampling(
        temperature=0.0, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.2,
        logit_bias={1: 1.0}, bad_words=((3,), (0, 1)), min_tokens=5,
    ),
    "all": Sampling(
        temperature=0.8, top_k=6, top_p=0.95, min_p=0.01, repetition_penalty=1.2,
        presence_penalty=0.4, frequency_penalty=0.3, logit_bias={0: 1.0, 5: -1.0},
        bad_words=((2, 2), (6,)), min_tokens=6, stop_token_ids=(7,),
    ),
}  # fmt: skip
EOS = frozenset({0})
LENGTH = 24


def ended(sampling: Sampling, tokens: np.ndarray) -> bool:
    stops = {*sampling.stop_token_ids, *(() if sampling.ignore_eos else EOS)}
    return len(tokens) >= LENGTH or (len(tokens) > 0 and int(tokens[-1]) in stops)


def decode(toy, samplings, seed, nodes, rng):
    """Decode a batch to the end; ``nodes`` 1 is plain decoding."""
    flying = [sequence(s, choice=i, seed=seed) for i, s in enumerate(samplings)]
    texts, steps = list(flying), 0
    while flying:
        trees = [
            random_tree(rng, int(s.tokens[-1]), nodes, toy.vocabulary)
            if nodes > 1
            else TokenTree.root(int(s.tokens[-1]))
            for s in flying
        ]
        step(toy, flying, trees, EOS)
        steps += 1
        flying = [s for s in flying if not ended(s.request.sampling, s.output)]
    return [text.output[:LENGTH].tolist() for text in texts], steps


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", FEATURES)
def test_one_sequence(name, ties):
    rng = np.random.default_rng(3)
    saved = 0
    for seed in range(6):
        toy = Toy(8, seed=seed, ties=ties)
        plain, plain_steps = decode(toy, [FEATURES[name]], seed, 1, rng)
        for nodes in (4, 24):
            spoken, steps = decode(toy, [FEATURES[name]], seed, nodes, rng)
            assert spoken == plain
            saved += plain_steps - steps
    assert saved > 0, "no guess was ever accepted: the test has no power"


def test_any_batch():
    """Ragged batches of all features at once equal each feature alone."""
    rng = np.random.default_rng(5)
    for seed in range(3):
        toy = Toy(8, seed=seed)
        samplings = list(FEATURES.values())
        alone = []
        for choice in range(len(samplings)):
            text = sequence(samplings[choice], choice=choice, seed=seed)
            while not ended(samplings[choice], text.output):
                step(toy, [text], [TokenTree.root(int(text.tokens[-1]))], EOS)
            alone.append(text.output.tolist())
        for nodes in (1, 12):
            assert decode(toy, samplings, seed, nodes, rng)[0] == alone


def test_choices_and_seeds_differ():
    toy, rng = Toy(50), np.random.default_rng(0)
    texts = [decode(toy, [Sampling()] * 4, seed, 1, rng)[0] for seed in range(4)]
    assert len({tuple(text) for batch in texts for text in batch}) == 16
