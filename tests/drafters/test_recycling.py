"""The recycling drafter: what its rows hold, what they are worth, and how large they get."""

from __future__ import annotations

import numpy as np
import pytest
from drafters.markov import FACTS, MEDIA, STOP, Markov, observation, prefill, sequence, step

from mmspec.core.drafter import Budget, Facts
from mmspec.retrieval.recycling import Config, Recycling, build
from mmspec.retrieval.successors import (
    FIRST,
    KIND,
    PRIOR,
    RANKS,
    RATE,
    SEEDED,
    SHOWN,
    learn,
    new_rates,
    new_rows,
    score,
    seed,
)

BARRIERS = np.array([32, MEDIA])
DRAFTER = build(Config(), FACTS)


def successors(rows: np.ndarray, token: int) -> list[int]:
    row = rows[token & (len(rows) - 1)]
    return [int(after) for after in row[FIRST:] if row[0] == token + 1 and after >= 0]


def test_a_prompt_seeds_rows_with_the_last_successors_first():
    rows = new_rows(32)
    seed(rows, BARRIERS, np.array([1, 2, 1, 3, 1, 2, 1, MEDIA, MEDIA, 4, 99, 5]))
    assert successors(rows, 1) == [2, 3]
    assert successors(rows, 2) == [1]
    assert not successors(rows, MEDIA)
    assert not successors(rows, 4)
    seed(rows, BARRIERS, np.array([x for after in range(10, 20) for x in (1, after)]))
    assert successors(rows, 1) == list(range(19, 11, -1))


def test_the_target_s_ranking_replaces_a_row_for_rejected_nodes_too():
    rows = new_rows(32)
    seed(rows, BARRIERS, np.array([1, 2]))
    top = np.array([[3, MEDIA, 4, 5, 6, 7, 8, 9, 10, 11], [1, 2, 40, -1, -1, -1, -1, -1, -1, -1]])
    learn(rows, BARRIERS, np.array([1, 7]), top)
    assert successors(rows, 1) == [3, 4, 5, 6, 7, 8, 9, 10]
    assert successors(rows, 7) == [1, 2]
    assert rows[1, KIND] == SHOWN


def test_a_full_table_keeps_the_newest_owner():
    rows, barriers = new_rows(4), np.array([262_144])
    seed(rows, barriers, np.array([262_143, 5]))
    assert successors(rows, 262_143) == [5]
    seed(rows, barriers, np.array([3, 6]))
    assert successors(rows, 3) == [6]
    assert not successors(rows, 262_143)


def test_rates_count_only_what_was_attempted():
    rows, rates = new_rows(32), new_rates()
    seed(rows, BARRIERS, np.array([1, 2, 3]))
    score(rows, rates, np.array([1, 2, 3, 9]))  # depths 0 and 1 right, 9 comes after no row
    assert rates[SEEDED, 0, 0] == pytest.approx(PRIOR[0, 0] + RATE * (1 - PRIOR[0, 0]))
    assert rates[SEEDED, 1, 0] == pytest.approx(PRIOR[0, 0] + RATE * (1 - PRIOR[0, 0]))
    assert rates[SEEDED, 0, 1] == pytest.approx(PRIOR[0, 1] * (1 - RATE))
    assert np.array_equal(rates[SEEDED, 2:], new_rates()[SEEDED, 2:])
    assert np.array_equal(rates[SHOWN], new_rates()[SHOWN])


def test_rates_are_of_one_sequence():
    drafter, target = build(Config(), FACTS), Markov()
    one, other = sequence("a", [1, 2, 3]), sequence("b", [1, 2, 3])
    prefill(drafter, [one, other], target)
    before = drafter._memories[other.id].rates.copy()
    for _ in range(10):
        step(drafter, [one], [Budget(16, 12)], target)
    assert np.array_equal(drafter._memories[other.id].rates, before)
    assert not np.array_equal(drafter._memories[one.id].rates, before)


def test_trees_follow_the_target_once_it_was_seen():
    drafter, target = build(Config(), FACTS), Markov()
    one = sequence("learns", [1, 2, 3])
    prefill(drafter, [one], target)
    start = len(one)
    for _ in range(40):
        step(drafter, [one], [Budget(16, 12)], target)
    assert (len(one) - start) / 40 > 2.5


def test_nothing_seen_is_the_root_alone():
    tree = DRAFTER.draft([sequence("new", [4, 5])], [Budget(16, 12)])[0]
    assert tree.tokens.tolist() == [5]
    DRAFTER.forget("new/0")


def test_an_id_used_again_starts_from_nothing():
    """Traps: a slot reused without a full reset; an id reused returning old drafts."""
    assert len(DRAFTER.draft([sequence("x", [1, 2, 1])], [Budget(16, 12)])[0]) > 1
    assert len(DRAFTER.draft([sequence("x", [3, 4, 5, 1])], [Budget(16, 12)])[0]) == 1
    DRAFTER.forget("x/0")


def test_nothing_grows_below_a_stop():
    one = sequence("stop", [1, STOP, 2, 3, 1])
    tree = DRAFTER.draft([one], [Budget(16, 12)])[0]
    assert tree.tokens.tolist() == [1, STOP]
    DRAFTER.forget(one.id)


def test_a_vocabulary_of_256k_costs_what_a_small_one_does():
    drafter = Recycling(Config(rows=5000), Facts(vocabulary=262_144, context=4096))
    one = sequence("wide", np.arange(262_044, 262_144))
    one.cached = 100
    one.extend(np.array([262_050]))
    drafter.observe([one], observation([one.tokens[:100]], [one.tokens[:0]], Markov()))
    assert drafter._memories[one.id].rows.shape == (8192, FIRST + RANKS)
    assert drafter.draft([one], [Budget(4, 12)])[0].tokens.tolist()[:2] == [262_050, 262_051]
