"""The served law against its slow definition, and the draw against the law."""

import numpy as np
import pytest
from core.reference import served
from hypothesis import given
from hypothesis import strategies as st

from mmspec.core.errors import EngineFaultError
from mmspec.core.history import History
from mmspec.core.noise import gumbel, gumbel_at
from mmspec.core.request import Sampling
from mmspec.core.sampling import draw, is_greedy, law, shape, stop_tokens

V = 12
TOKENS = st.integers(0, V - 1)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]),
    top_k=st.sampled_from([-1, 0, 1, 2, 5, 11, 12, 50]),
    top_p=st.sampled_from([1.0, 0.99, 0.9, 0.77, 0.5, 0.3, 0.01]),
    min_p=st.sampled_from([0.0, 0.01, 0.1, 0.6, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.25, 2.0, 0.5]),
    presence_penalty=st.sampled_from([0.0, 0.5, -1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.25, 2.0]),
    logit_bias=st.dictionaries(TOKENS, st.sampled_from([-100.0, -1.0, 2.5]), max_size=3),
    bad_words=st.lists(st.lists(TOKENS, min_size=1, max_size=3).map(tuple), max_size=3).map(tuple),
    min_tokens=st.integers(0, 6),
)
# Eighths, so that float32 and float64 agree on every tie.
rows = st.lists(st.integers(-40, 40), min_size=V, max_size=V).map(
    lambda values: np.array(values, np.float32) / 8
)
contexts = st.lists(TOKENS, min_size=1, max_size=9)


def after(context, prompt, vocabulary=V, decided=None):
    """A history that reached ``context`` by a path below ``decided`` tokens."""
    decided = len(context) if decided is None else decided
    history = History(np.array(context[:decided], np.int64), prompt, vocabulary)
    for token in context[decided:]:
        history.push(token)
    return history


@given(rows, samplings, contexts, st.data())
def test_law_is_the_definition_on_every_path(row, sampling, context, data):
    prompt = data.draw(st.integers(1, len(context)))
    decided = data.draw(st.integers(prompt, len(context)))
    stops = frozenset({3, 4})
    expected = served(row, sampling, context, prompt, stops)
    found = law(row, sampling, after(context, prompt, decided=decided), stops)
    weights = np.exp(found.weights.astype(np.float64))
    chances = np.zeros(V)
    chances[found.tokens] = weights / weights.sum()
    assert found.weights.max() == 0
    assert np.all(np.diff(found.tokens) > 0)
    assert np.array_equal(chances > 0, expected > 0)
    np.testing.assert_allclose(chances, expected, rtol=3e-6)


@given(rows, samplings, contexts, st.data())
def test_where_the_root_stands_changes_no_bit(row, sampling, context, data):
    prompt = data.draw(st.integers(1, len(context)))
    whole = after(context, prompt)
    first = law(row, sampling, whole, frozenset({3}))
    for decided in range(prompt, len(context)):
        history = after(context, prompt, decided=decided)
        assert (history.position, history.emitted) == (whole.position, whole.emitted)
        again = law(row, sampling, history, frozenset({3}))
        assert again.tokens.tolist() == first.tokens.tolist()
        assert again.weights.tobytes() == first.weights.tobytes()


@given(contexts, st.data())
def test_history_counted_early_or_late_is_the_same(context, data):
    decided = data.draw(st.integers(1, len(context)))
    late, early = after(context, 1, decided=decided), after(context[:decided], 1)
    assert early.counts.sum() == decided - 1
    assert early.seen.any()
    for token in context[decided:]:
        early.push(token)
    assert np.array_equal(early.counts, late.counts)
    assert np.array_equal(early.seen, late.seen)
    assert late.counts.tolist() == [context[1:].count(t) for t in range(V)]
    assert np.flatnonzero(late.seen).tolist() == sorted(set(context))
    for size in range(len(context) + 1):
        tail = tuple(context[len(context) - size :])
        assert early.ends_with(tail)
        assert not early.ends_with((*tail, V))
    assert not early.ends_with((0, *context))


@given(rows, samplings, contexts, st.integers(-(2**63), 2**63 - 1), st.integers(0, 3))
def test_draw_is_the_argmax_of_law_and_noise(row, sampling, context, seed, choice):
    history = after(context, 1)
    found = law(row, sampling, history, frozenset({3}))
    token = draw(row, sampling, history, frozenset({3}), seed, choice)
    if is_greedy(sampling):
        assert found.tokens.tolist() == [token]
    scores = found.weights + gumbel_at(seed, choice, len(context), found.tokens)
    assert token == found.tokens[np.argmax(scores)]


@pytest.mark.parametrize("vocabulary", [1, 33, 4096, 151_936])
def test_the_unfiltered_draw_does_not_sort_and_says_the_same(vocabulary):
    rng = np.random.default_rng(vocabulary)
    row = (rng.standard_normal(vocabulary) * 3).astype(np.float32)
    for seed, warmth in enumerate((0.1, 1.0, 1.7)):
        token = draw(row, Sampling(temperature=warmth), after([5, 6, 7], 1), frozenset(), seed, 1)
        weights = (row - row.max()) / np.float32(warmth)
        assert token == np.argmax(weights + gumbel(seed, 1, 3, vocabulary))


@pytest.mark.parametrize("top_p", [0.02, 0.5, 0.95, 0.9999])
@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 6.0])
def test_nucleus_of_a_large_vocabulary(top_p, spread):
    rng = np.random.default_rng(3)
    row = (rng.standard_normal(50_000) * spread).astype(np.float32)
    found = law(row, Sampling(top_p=top_p), after([1], 1), frozenset())
    order = np.argsort(-row, kind="stable")
    chances = np.exp((row - row.max()).astype(np.float64))[order]
    before = np.cumsum(chances) - chances
    expected = int(np.sum(before < top_p * chances.sum()))
    assert abs(len(found.tokens) - expected) <= 1  # the sums round differently
    assert found.tokens.tolist() == np.sort(order[: len(found.tokens)]).tolist()


def test_ties():
    row = np.array([1, 3, 3, 0, 3], np.float32)
    history = after([0], 1)
    assert draw(row, Sampling(temperature=0.0), history, frozenset(), 1) == 1
    assert law(row, Sampling(top_k=1), history, frozenset()).tokens.tolist() == [1, 2, 4]
    assert law(row, Sampling(top_p=0.5), history, frozenset()).tokens.tolist() == [1, 2]
    assert law(row, Sampling(top_p=1e-9), history, frozenset()).tokens.tolist() == [1]


def test_the_row_is_left_alone():
    row = np.arange(V, dtype=np.float32)
    row.flags.writeable = False
    history = after([1, 2, 3], 1)
    assert shape(row, Sampling(), history, frozenset()) is row
    busy = Sampling(repetition_penalty=2.0, presence_penalty=1.0, logit_bias={1: 5.0})
    assert shape(row, busy, history, frozenset())[1] != row[1]


def test_stop_tokens():
    eos = frozenset({2})
    assert stop_tokens(Sampling(), eos) == {2}
    assert stop_tokens(Sampling(stop_token_ids=(5,)), eos) == {2, 5}
    assert stop_tokens(Sampling(stop_token_ids=(5,), ignore_eos=True), eos) == {5}


def test_penalties_count_output_only_and_repetition_the_prompt_too():
    row = np.array([2, 2, 2, -2], np.float32)
    history = after([0, 3, 1, 1], 2, vocabulary=4)
    shaped = shape(
        row, Sampling(frequency_penalty=0.5, presence_penalty=0.25), history, frozenset()
    )
    assert shaped.tolist() == [2, 0.75, 2, -2]
    shaped = shape(row, Sampling(repetition_penalty=2.0), history, frozenset())
    assert shaped.tolist() == [1, 1, 2, -4]


@pytest.mark.parametrize("warmth", [0.0, 1e-46, 1e-40, 1e-8, 1.0])
@pytest.mark.parametrize("extra", [{}, {"top_k": 3}, {"top_p": 0.9}, {"presence_penalty": 1.0}])
def test_any_temperature_is_safe(warmth, extra):
    row = np.array([-5, 3, 88, -np.inf, 1e30, -1e30], np.float32)
    sampling = Sampling(temperature=warmth, **extra)
    assert draw(row, sampling, after([0, 1], 1, 6), frozenset(), 3) == 4


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(), Sampling(top_p=0.5)])
@pytest.mark.parametrize(
    "row",
    [[1, np.nan, 3], [1, 2, -np.nan], [np.inf, 1, 2], [-np.inf] * 3, [np.nan] * 3],
)
def test_broken_rows_are_faults(sampling, row):
    with pytest.raises(EngineFaultError, match="not numbers"):
        draw(np.array(row, np.float32), sampling, after([0], 1, 3), frozenset(), 1)


@pytest.mark.parametrize("warmth", [0.0, 1.0])
def test_bans_that_leave_nothing_are_faults(warmth):
    sampling = Sampling(temperature=warmth, bad_words=((0,), (1,)), min_tokens=1)
    row = np.zeros(3, np.float32)
    assert draw(row, sampling, after([0], 1, 3), frozenset(), 1) == 2
    with pytest.raises(EngineFaultError, match="no token"):
        draw(row, sampling, after([0], 1, 3), frozenset({2}), 1)
