"""The walk and the packing: what is kept, what is emitted, what is not even looked at."""

import numpy as np
import pytest
import torch
from core.toy import Toy, random_tree, sequence, step
from hypothesis import given
from hypothesis import strategies as st

from mmspec.core.noise import _gather, _race
from mmspec.core.peak import peak
from mmspec.core.request import Sampling
from mmspec.core.sampling import _discourage, _nucleus, _repeat
from mmspec.core.tree import TokenTree
from mmspec.core.verify import _child, _walk_plain, verify, walk
from mmspec.core.warm import warm

GREEDY = Sampling(temperature=0.0)
# Nodes 1 and 2 are children of the root, 3 and 4 of node 1, 5 of node 2.
TREE = TokenTree(
    np.array([7, 1, 2, 3, 4, 3]), np.array([-1, 0, 0, 1, 1, 2], np.int32),
    -np.array([0, 1, 1, 2, 2, 2], np.float32), np.zeros(6, np.uint8),
)  # fmt: skip


def says(*tokens, vocabulary=8, dtype=torch.float32):
    """Logits whose argmax at node i is tokens[i]."""
    logits = torch.zeros(len(tokens), vocabulary)
    logits[torch.arange(len(tokens)), torch.tensor(tokens)] = 5.0
    return logits.to(dtype)


def test_walks_to_the_end_of_what_was_guessed():
    verdict = verify([TREE], says(1, 4, 0, 0, 6, 0), [sequence(GREEDY)])
    assert verdict.kept.tolist() == [[0, 1, 4]]
    assert (verdict.kept.dtype, verdict.counts.dtype, verdict.next.dtype) == ("i4", "i4", "i8")
    assert (verdict.counts.tolist(), verdict.next.tolist()) == ([3], [6])
    assert verdict.faults == {}


def test_a_wrong_guess_costs_nothing_but_itself():
    verdict = verify([TREE], says(5, 0, 0, 0, 0, 0), [sequence(GREEDY)])
    assert (verdict.kept.tolist(), verdict.next.tolist()) == ([[0]], [5])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1e-4)])
def test_ragged_batch_in_every_dtype(dtype, sampling):
    trees = [TokenTree.root(7), TREE, TokenTree.chain(np.array([7, 2, 3, 1])), TREE]
    logits = says(3, 2, 0, 3, 0, 0, 1, 2, 3, 6, 0, 1, 3, 0, 5, 0, 0, dtype=dtype)
    verdict = verify(trees, logits, [sequence(sampling) for _ in trees])
    assert verdict.kept.tolist() == [[0, -1, -1], [0, 2, 5], [0, 1, 2], [0, 1, 3]]
    assert verdict.counts.tolist() == [1, 3, 3, 3]
    assert verdict.next.tolist() == [3, 1, 6, 5]


def test_mixed_samplings_keep_their_places():
    samplings = [Sampling(), GREEDY, Sampling(top_k=1), GREEDY, Sampling(temperature=1e-4)]
    logits = torch.cat([says(2, 0, 3, 0, 0, k) for k in range(5)])
    verdict = verify([TREE] * 5, logits * 20, [sequence(s) for s in samplings])
    assert verdict.next.tolist() == [0, 1, 2, 3, 4]
    assert verdict.kept.tolist() == [[0, 2, 5]] * 5


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1e-4)])
def test_a_stop_token_is_emitted_and_ends_the_walk(sampling):
    row = says(1, 4, 0, 0, 6, 0)
    verdict = verify([TREE], row, [sequence(sampling)], frozenset({4}))
    assert (verdict.kept.tolist(), verdict.next.tolist()) == ([[0, 1]], [4])
    verdict = verify([TREE], row, [sequence(sampling)], frozenset({9, 1}))
    assert (verdict.kept.tolist(), verdict.next.tolist()) == ([[0]], [1])


def test_stops_are_each_sequences_own():
    samplings = [
        GREEDY,
        Sampling(temperature=0.0, ignore_eos=True),
        Sampling(temperature=0.0, ignore_eos=True, stop_token_ids=(4,)),
        Sampling(temperature=0.0, min_tokens=2),
        Sampling(temperature=0.0, min_tokens=1),
    ]
    logits = says(1, 4, 0, 0, 6, 0).repeat(5, 1)
    logits[-12:, 5] = 1.0  # what is left when stop tokens are banned
    verdict = verify([TREE] * 5, logits, [sequence(s) for s in samplings], frozenset({1}))
    assert verdict.counts.tolist() == [1, 3, 2, 1, 1]
    assert verdict.next.tolist() == [1, 6, 4, 5, 5]


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(), Sampling(top_p=0.9)])
@pytest.mark.parametrize("node", [0, 1, 4])
def test_a_broken_row_takes_nobody_else_down(sampling, node):
    logits = says(1, 4, 0, 0, 6, 0).repeat(3, 1) * 20
    whole = verify([TREE] * 3, logits, [sequence(sampling) for _ in range(3)])
    logits[6 + node, 3] = float("nan")
    verdict = verify([TREE] * 3, logits, [sequence(sampling) for _ in range(3)])
    assert list(verdict.faults) == [1]
    assert "not numbers" in verdict.faults[1]
    assert (verdict.counts.tolist(), verdict.next.tolist()) == ([3, 0, 3], [6, -1, 6])
    assert verdict.kept.tolist() == [whole.kept[0].tolist(), [-1] * 3, whole.kept[2].tolist()]


def test_rows_off_the_path_are_not_looked_at():
    logits = says(1, 4, 0, 0, 6, 0)
    logits[[2, 3, 5]] = float("nan")
    for sampling in (GREEDY, Sampling(temperature=1e-4)):
        assert verify([TREE], logits, [sequence(sampling)]).next.tolist() == [6]


def test_bans_that_leave_nothing_break_only_their_sequence():
    banned = Sampling(temperature=0.0, bad_words=tuple((t,) for t in range(8)))
    verdict = verify(
        [TREE] * 2, says(1, 4, 0, 0, 6, 0).repeat(2, 1), [sequence(banned), sequence(GREEDY)]
    )
    assert "no token" in verdict.faults[0]
    assert verdict.next.tolist() == [-1, 6]


def test_rows_must_match_nodes():
    with pytest.raises(ValueError, match="5 rows of logits for 6 nodes"):
        verify([TREE], says(1, 2, 3, 4, 5), [sequence(GREEDY)])


def test_nobody_at_all():
    verdict = verify([], torch.zeros(0, 8), [])
    assert (verdict.kept.shape, verdict.next.shape) == ((0, 1), (0,))


def test_walk_asks_only_along_the_path():
    asked = []

    def pick(node):
        asked.append(node)
        return {0: 2, 2: 3, 5: 3}[node]

    assert walk(TREE, pick, frozenset()) == ([0, 2, 5], 3)
    assert asked == [0, 2, 5]


@given(st.integers(0, 2**32), st.sampled_from([GREEDY, Sampling(), Sampling(top_k=2)]))
def test_order_of_siblings_does_not_matter(seed, sampling):
    rng = np.random.default_rng(seed)
    toy, text = Toy(4, seed=seed % 97), sequence(sampling, seed=seed)
    tree = random_tree(rng, int(text.tokens[-1]), 16, 4)
    # Any order in which parents precede children: sort by depth, shuffled within.
    order = np.lexsort((rng.random(len(tree)), tree.depths()))
    place = np.argsort(order)
    parents = np.where(tree.parents[order] < 0, -1, place[tree.parents[order]]).astype(np.int32)
    other = TokenTree(tree.tokens[order], parents, tree.scores[order], tree.source[order])
    other.check()
    twin = sequence(sampling, seed=seed)
    step(toy, [text], [tree], frozenset())
    step(toy, [twin], [other], frozenset())
    assert text.tokens.tolist() == twin.tokens.tolist()


@given(st.integers(0, 2**32), st.sampled_from([GREEDY, Sampling(), Sampling(min_p=0.1)]))
def test_a_drafter_that_knows_the_target_is_always_believed(seed, sampling):
    toy, plain = Toy(6, seed=seed % 97), sequence(sampling, seed=seed)
    for _ in range(6):
        step(toy, [plain], [TokenTree.root(int(plain.tokens[-1]))], frozenset())
    text = sequence(sampling, seed=seed)
    truth = TokenTree.chain(plain.tokens[len(text) - 1 : -1])
    verdict = step(toy, [text], [truth], frozenset())
    assert verdict.counts.tolist() == [6]
    assert text.tokens.tolist() == plain.tokens.tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_nothing_is_left_to_compile_after_warming(dtype):
    warm(dtype)
    compiled = [_walk_plain, _child, _race, _gather, _nucleus, _repeat, _discourage, peak]
    before = [len(function.signatures) for function in compiled]
    samplings = [GREEDY, Sampling(), Sampling(top_p=0.8), Sampling(top_k=3, min_p=0.1)]
    samplings += [Sampling(repetition_penalty=1.2, frequency_penalty=1.0, bad_words=((1, 2),))]
    logits = says(1, 4, 0, 0, 6, 0, dtype=dtype).repeat(len(samplings), 1)
    verify([TREE] * len(samplings), logits, [sequence(s) for s in samplings])
    assert [len(function.signatures) for function in compiled] == before
