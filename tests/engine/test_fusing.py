"""Fusing in the engine: every way gives plain decoding's text, and tenants learn apart."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from drafting import Knowing
from running import engine, run

from mmspec.core.drafter import Budget
from mmspec.core.fuse import Fusion
from mmspec.core.request import Prompt, Request, Sampling, Speculation
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.engine.fusing import AGAIN, LEAST, PRICE, START, TENANTS, Fuser
from mmspec.retrieval import recycling, suffix

PROMPTS = {
    name: Prompt(np.tile(np.random.default_rng(seed).integers(3, 90, 10), 4))
    for seed, name in enumerate("abc")
}
SAMPLINGS = [Sampling(temperature=0.0, max_tokens=50), Sampling(seed=3, max_tokens=50)]


@pytest.fixture(scope="module")
def target():
    return tiny.target("llama", "bitwise")


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "seeded"])
@pytest.mark.parametrize("arm", ["union", "calibrated", "rasd", "switch"])
def test_no_way_of_fusing_changes_a_text(target, arm, sampling):
    plain = run(engine(target), PROMPTS, sampling)
    knowing = Knowing(plain, target.facts.vocabulary)
    knowing.runs_model = True
    drafters = {
        "text.knowing": knowing,
        "retrieval.suffix": suffix.build(suffix.Config(), target.facts),
        "retrieval.recycling": recycling.build(recycling.Config(), target.facts),
    }
    running = engine(target, drafters, fusion=arm, enough=float("inf"))
    assert run(running, PROMPTS, sampling) == plain
    assert running.stats.accepted > 0


def sequence(tenant, id="a", speculation=Speculation()):
    asked = Request(id, Prompt(np.arange(3, 9)), speculation=speculation, tenant=tenant)
    return Sequence(asked, 0, 0)


TREES = [
    TokenTree.chain(np.array([8, 1, 2, 3]), np.log([1.0, 0.9, 0.8, 0.7]), 0),
    TokenTree.chain(np.array([8, 4, 5, 6]), np.log([1.0, 0.8, 0.7, 0.6]), 1),
]


def test_a_tenants_trees_do_not_depend_on_what_others_said():
    """The canary: byte for byte the same, with another tenant's texts and without."""
    alone, beside = Fuser(Fusion("calibrated")), Fuser(Fusion("calibrated"))
    for turn in range(50):
        other = beside.fuse(sequence("A"), TREES, Budget(16, 8))
        beside.learn(sequence("A"), other, np.array([0, *np.flatnonzero(other.tokens == 4)]))
        trees = []
        for fuser in (alone, beside):
            tree = fuser.fuse(sequence("B"), TREES, Budget(4, 8))
            fuser.learn(sequence("B"), tree, np.arange(1 + turn % 2))
            trees.append(tree)
        for one, two in zip(trees[0]._arrays(), trees[1]._arrays(), strict=True):
            assert one.tobytes() == two.tobytes()
    learned = beside.fuse(sequence("A"), TREES, Budget(2, 8))
    assert learned.tokens.tolist() == [8, 4]  # and A has learned from its own


def test_a_tree_that_was_cut_and_one_that_was_not_fused_teach_nothing():
    fuser = Fuser(Fusion("calibrated"))
    before = fuser.fuse(sequence("A"), TREES, Budget(16, 8))
    fuser.learn(sequence("A"), before.truncate(1), np.array([0]))
    fuser.learn(sequence("A"), before, np.array([0]))  # its cells went with the first call
    after = fuser.fuse(sequence("A"), TREES, Budget(16, 8))
    assert np.array_equal(before.scores, after.scores)


def test_tenants_are_bounded_and_the_one_heard_from_last_stays():
    fuser = Fuser(Fusion("calibrated"))
    for number in range(TENANTS + 10):
        fuser.fuse(sequence(f"{number}"), TREES, Budget(4, 8))
        fuser.fuse(sequence("0"), TREES, Budget(4, 8))
    assert len(fuser._tenants) == TENANTS
    assert ("0", False) in fuser._tenants


def test_a_model_that_brings_little_is_asked_where_less_is_expected():
    fuser = Fuser(Fusion("calibrated", models=0b1))
    start = fuser.enough(sequence("A"))
    assert start == pytest.approx(START)
    for _ in range(30):  # rounds with the model keep nothing
        tree = fuser.fuse(sequence("A"), TREES, Budget(16, 8))
        fuser.learn(sequence("A"), tree, np.array([0]))
    assert fuser.enough(sequence("A")) < 0.1
    fuser.forget("a/0")
    assert fuser.enough(sequence("A")) == pytest.approx(fuser.enough(sequence("A", "b")))
    assert 0.1 < fuser.enough(sequence("A")) < start  # the tenant's next text begins lower
    assert fuser.enough(sequence("B")) == start
    quoted = [TREES[1]]  # rounds without the model say nothing of what it brings
    before = fuser.enough(sequence("B"))
    tree = fuser.fuse(sequence("B"), quoted, Budget(16, 8))
    fuser.learn(sequence("B"), tree, np.array([0]))
    assert fuser.enough(sequence("B")) == before


def test_a_tenants_next_text_asks_again_whatever_its_others_were_like():
    """Who is never asked brings nothing: without a first question that would be for good."""
    fuser = Fuser(Fusion("calibrated", models=0b1))
    for text in range(20):
        for _ in range(30):  # rounds with the model keep nothing
            tree = fuser.fuse(sequence("A", str(text)), TREES, Budget(16, 8))
            fuser.learn(sequence("A", str(text)), tree, np.array([0]))
        assert fuser.enough(sequence("A", str(text))) <= 0.0
        fuser.forget(f"{text}/0")
    assert fuser.enough(sequence("A", "next")) == pytest.approx(LEAST)
    assert fuser.enough(sequence("A", "next"), 5.0) == LEAST  # dear as it may be
    for _ in range(10):  # and where it keeps much, this text soon asks as any other would
        tree = fuser.fuse(sequence("A", "next"), TREES, Budget(16, 8))
        fuser.learn(sequence("A", "next"), tree, np.arange(5))
    assert fuser.enough(sequence("A", "next")) > 1.5 * LEAST


def test_a_model_that_is_not_asked_is_tried_again_and_who_names_it_is_obeyed():
    fuser, named = Fuser(Fusion("calibrated", models=0b1)), Speculation(drafters=("text.a",))
    for _ in range(30):  # rounds with the model keep nothing
        tree = fuser.fuse(sequence("A"), TREES, Budget(16, 8))
        fuser.learn(sequence("A"), tree, np.array([0]))
    assert fuser.enough(sequence("A"), 3.0) <= 0.0
    assert fuser.enough(sequence("A", speculation=named), 3.0) == LEAST
    for number in range(AGAIN):  # then rounds without it
        assert fuser.enough(sequence("A"), 3.0) <= 0.0, number
        tree = fuser.fuse(sequence("A"), [TREES[1]], Budget(16, 8))
        fuser.learn(sequence("A"), tree, np.array([0]))
    assert fuser.enough(sequence("A"), 3.0) == LEAST
    tree = fuser.fuse(sequence("A"), TREES, Budget(16, 8))
    fuser.learn(sequence("A"), tree, np.array([0]))  # once
    assert fuser.enough(sequence("A"), 3.0) <= 0.0


def test_the_dearer_a_model_is_the_less_has_to_be_expected_without_it():
    fuser = Fuser(Fusion("calibrated", models=0b1))
    told = [fuser.enough(sequence("A"), price) for price in (0.0, 0.5, PRICE, 2.0)]
    assert told == sorted(told, reverse=True)
    assert told[0] > told[-1]
    assert fuser.enough(sequence("A")) == told[2]
