"""The suffix drafter: the traps of retrieval, and its trees against a slow reference."""

from __future__ import annotations

import heapq

import numpy as np
from drafters.brute import longest_earlier_suffix, occurrences
from drafters.markov import FACTS, MEDIA, Markov, observation, sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from mmspec.core.drafter import Budget, Facts
from mmspec.retrieval.automaton import BUCKET, Automaton
from mmspec.retrieval.quote import SUFFIXES, SURE, grow
from mmspec.retrieval.suffix import Config, Suffix, build

NO_STOPS = np.array([], np.int64)
DRAFTER = build(Config(), FACTS)


def tree_of(drafter: Suffix, prompt, budget: Budget = Budget(16, 12), id: str = "x"):  # noqa: B008
    return drafter.draft([sequence(id, prompt)], [budget])[0]


def offers(text: list[int], words: list[int], trust: np.ndarray) -> dict[int, float]:
    """Chance of each next token after ``words``, by shorter and shorter suffixes, excluding."""
    chances: dict[int, float] = {}
    escape, known, length, asked = 1.0, set(), len(words), 0
    while words and asked < SUFFIXES:
        asked += 1
        trusted = min(max(trust[BUCKET[min(length, 25)]], 1 - SURE), SURE)
        ends = occurrences(text, words)
        tokens = {text[end] for end in ends if end < len(text)} - {MEDIA}
        counts = {token: len(occurrences(text, [*words, token])) for token in tokens - known}
        for token, count in counts.items():
            chances[token] = escape * trusted * count / sum(counts.values())
        escape *= 1 - trusted if counts else 1
        known |= tokens
        while words and occurrences(text, words) == ends:
            words = words[1:]
        length = len(words)
    return chances


def reference(text: list[int], trust: np.ndarray, nodes: int, depth: int, floor: float):
    """Scores of the best ``nodes`` guesses, slowly."""
    frontier = [(-1.0, 0, longest_earlier_suffix(text, MEDIA))]
    taken: list[float] = []
    while frontier and len(taken) < nodes:
        key, level, words = heapq.heappop(frontier)
        taken.append(-key)
        if level < depth:
            for token, chance in offers(text, words, trust).items():
                if -key * chance >= floor:
                    # The state reached is that of the longest match with this continuation.
                    suffix = words
                    while not any(
                        text[end] == token for end in occurrences(text, suffix) if end < len(text)
                    ):
                        suffix = suffix[1:]
                    heapq.heappush(frontier, (key * chance, level + 1, [*suffix, token]))
    return taken


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([0, 1, 2, 3, MEDIA]), min_size=1, max_size=40),
    st.integers(1, 24),
    st.integers(0, 6),
    st.sampled_from([0.003, 0.03, 0.2]),
)
def test_the_tree_holds_the_likeliest_continuations(text, nodes, depth, floor):
    automaton = Automaton(8, np.array([MEDIA]))
    automaton.extend(np.array(text))
    match = automaton.match, automaton.match_length
    arrays = automaton.states, automaton.edges, match, automaton.trust
    _, _, scores, _ = grow(*arrays, NO_STOPS, nodes, depth, floor)
    expected = reference(text, automaton.trust, nodes, depth, floor)
    np.testing.assert_allclose(np.exp(scores), expected, rtol=1e-4)


def test_the_last_decided_token_is_part_of_the_match():
    """Trap: off by one on the token just sampled."""
    one = sequence("y0", [1, 2, 3, 9, 4, 1, 2])
    one.cached = 6
    DRAFTER.observe([one], observation([one.tokens[:6]], [one.tokens[:0]], Markov()))
    assert DRAFTER.draft([one], [Budget(2, 12)])[0].tokens.tolist() == [2, 3]
    one.extend(np.array([3]))
    one.cached = 7
    assert DRAFTER.draft([one], [Budget(2, 12)])[0].tokens.tolist() == [3, 9]
    DRAFTER.forget(one.id)


def test_text_that_repeats_nothing_is_the_root_alone():
    """Trap: the end of the text matches itself."""
    assert len(tree_of(DRAFTER, np.arange(20), id="new")) == 1


def test_an_id_used_again_starts_from_nothing():
    """Traps: a slot reused without a full reset; an id reused returning old drafts."""
    text = [1, 2, 3, 4, 1, 2]
    assert tree_of(DRAFTER, text).tokens.tolist()[:3] == [2, 3, 4]
    assert tree_of(DRAFTER, [5, 6, 2]).tokens.tolist() == [2]
    assert tree_of(DRAFTER, [7, 2, 9, 8, 2]).tokens.tolist()[:2] == [2, 9]
    DRAFTER.forget("x/0")


def test_forks_become_siblings_by_count():
    text = [1, 2, 5, 0, 1, 2, 5, 7, 1, 2, 6, 8, 1, 2]
    tree = tree_of(DRAFTER, text, id="fork")
    children = tree.tokens[tree.parents == 0].tolist()
    assert children[:2] == [5, 6]
    assert len(set(children)) == len(children)


def test_a_long_copy_is_one_deep_chain():
    text = [*range(28), 15, *range(26)]
    tree = tree_of(DRAFTER, text[:-6], Budget(6, 5), id="copy")
    assert tree.tokens.tolist() == [19, 20, 21, 22, 23, 24]
    assert tree.parents.tolist() == [-1, 0, 1, 2, 3, 4]
    assert tree.scores[-1] > -0.7


def test_text_of_a_short_period_is_copied_past_its_end():
    assert len(tree_of(DRAFTER, [4] * 200, Budget(16, 12), id="aaaa")) == 13
    tree = tree_of(DRAFTER, [4, 5, 6] * 60, Budget(8, 7), id="abc")
    assert tree.tokens.tolist() == [6, 4, 5, 6, 4, 5, 6, 4]


def test_a_picture_is_never_copied_or_crossed():
    picture = [MEDIA] * 50
    assert len(tree_of(DRAFTER, [1, *picture, 2, 3, *picture[:10]], id="m1")) == 1
    assert tree_of(DRAFTER, [1, 2, *picture, 4, 1, 2], id="m2").tokens.tolist() == [2]


def test_rejected_guesses_never_enter_the_text():
    """Trap: what the target rejected is poison for a text memory."""
    one = sequence("poison", [1, 2, 3])
    one.cached = 3
    one.extend(np.array([1]))
    guessed = np.array([3, 1, 7, 8, 1, 7, 8])
    drafter = Suffix(Config(), FACTS)
    drafter.observe([one], observation([one.tokens[:3]], [guessed], Markov()))
    assert set(drafter.draft([one], [Budget(16, 12)])[0].tokens.tolist()) <= {1, 2, 3}


def test_a_prompt_is_read_as_it_is_cached():
    drafter = Suffix(Config(), Facts(vocabulary=300_000, context=10_000))
    one = sequence("chunks", np.arange(299_000, 300_000))
    sizes = []
    while one.cached < 1000:
        part = one.tokens[one.cached : one.cached + 256]
        one.cached += len(part)
        drafter.observe([one], observation([part], [part[:0]], Markov()))
        sizes.append(drafter._read[one.id][1].size)
    assert sizes == [257, 513, 769, 1000]
    one.extend(one.tokens[500:503])
    one.cached = 1002
    assert drafter.draft([one], [Budget(4, 12)])[0].tokens.tolist() == [*range(299_502, 299_506)]
