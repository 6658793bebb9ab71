"""The STAND drafter: what its rows hold, what they claim, and with whom they are shared."""

from __future__ import annotations

import numpy as np
import pytest
from drafters.markov import FACTS, MEDIA, Markov, alone, observation, prefill, sequence, step
from drafters.test_contract import same

from mmspec.core.drafter import Budget, Observation
from mmspec.core.noise import gumbel_at, key
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.retrieval.gram_tree import CAME, CLAIMED, EDGES, claims, grow, new_trust, reached, score
from mmspec.retrieval.grams import WAYS, WIDTH, find, learn, longest, name, new_grams
from mmspec.retrieval.stand import Config, build

BARRIERS = np.array([1000, MEDIA])
NO_STOPS = np.zeros(0, np.int64)
COLD, WARM = np.float32(0.0), np.float32(0.7)
FULL = Budget(16, 12)


def context(*tokens: int) -> np.ndarray:
    return reached(np.array(tokens, np.int64))


def teach(grams, tokens: tuple[int, ...], law: dict[int, float]) -> None:
    top = np.array([list(law)], np.int64)
    chances = np.log(np.array([list(law.values())])).astype(np.float32)
    learn(grams, BARRIERS, context(*tokens)[None], top, chances)


def slot_of(grams, *tokens: int) -> int:
    key_ = name(BARRIERS, context(*tokens), len(tokens))
    return find(grams, np.uint64(key_)) if key_ else -1


def row(grams, *tokens: int) -> dict[int, float]:
    slot = slot_of(grams, *tokens)
    kept = {} if slot < 0 else zip(grams.tokens[slot], grams.chances[slot], strict=True)
    return {int(token): float(chance) for token, chance in kept if token >= 0}


def test_a_row_is_the_running_mean_cut_to_its_ten_largest():
    grams, dice, mean = new_grams(64), np.random.default_rng(0), {}
    for before in range(12):
        drawn = dice.dirichlet(np.full(30, 0.3)) + 1e-9
        best = np.argsort(-drawn)[:WIDTH]
        law = {int(token): float(drawn[token]) for token in best}
        teach(grams, (1, 2, 3, 4), law)
        together = {token: chance * before / (before + 1) for token, chance in mean.items()}
        for token, chance in law.items():
            together[token] = together.get(token, 0.0) + chance / (before + 1)
        mean = dict(sorted(together.items(), key=lambda pair: -pair[1])[:WIDTH])
        assert row(grams, 1, 2, 3, 4) == pytest.approx(mean, rel=1e-4)
    assert list(row(grams, 3, 4)) == list(mean)


def test_the_longest_name_there_is_speaks():
    grams = new_grams(64)
    teach(grams, (1, 2, 3, 4), {5: 0.9})
    teach(grams, (9, 9, 3, 4), {6: 0.9})
    orders = [longest(grams, BARRIERS, context(*text))[0] for text in (
        (1, 2, 3, 4), (0, 2, 3, 4), (2, 3, 4), (8, 8, 3, 4), (3, 4), (3, 3, 3, 3),
    )]  # fmt: skip
    assert orders == [2, 1, 1, 0, 0, -1]
    assert row(grams, 1, 2, 3, 4) == pytest.approx({5: 0.9})
    assert row(grams, 3, 4) == pytest.approx({5: 0.45, 6: 0.45})


def test_no_row_is_named_by_a_picture_nor_holds_one():
    grams = new_grams(64)
    teach(grams, (1, MEDIA, 3, 4), {5: 0.5, MEDIA: 0.3, 1000: 0.1})
    assert not row(grams, 1, MEDIA, 3, 4)
    assert not row(grams, MEDIA, 3, 4)
    assert row(grams, 3, 4) == pytest.approx({5: 0.5})


def test_a_broken_row_teaches_nothing():
    grams = new_grams(64)
    teach(grams, (1, 2), {5: float("nan"), 6: 0.5})
    assert not grams.keys.any()


def test_a_full_table_forgets_what_was_taught_longest_ago():
    grams = new_grams(WAYS)
    for token in range(WAYS):
        teach(grams, (token, token + 1), {5: 0.9})
    teach(grams, (0, 1), {5: 0.9})
    teach(grams, (90, 91), {6: 0.9})
    assert row(grams, 0, 1)
    assert row(grams, 90, 91)
    assert not row(grams, 1, 2)
    assert len(grams.keys) == WAYS


def test_a_cold_tree_is_of_the_likeliest_tokens_in_order():
    grams = new_grams(64)
    teach(grams, (1, 2), {5: 0.5, 6: 0.3, 7: 0.1})
    teach(grams, (2, 5), {8: 0.9})
    states = np.zeros(2, np.uint64)
    shape = (8, 0.02)
    made = grow(grams, BARRIERS, new_trust(), NO_STOPS, context(1, 2), COLD, states, shape)
    tokens, parents, scores, _ = made
    assert tokens.tolist() == [2, 5, 8, 6, 7]
    assert parents.tolist() == [-1, 0, 1, 0, 0]
    assert np.all(np.diff(scores) <= 0)
    np.testing.assert_allclose(np.exp(scores[1]), 0.5 * 0.7, rtol=1e-5)  # rarely seen: not sure
    stops = np.array([5])
    made = grow(grams, BARRIERS, new_trust(), stops, context(1, 2), COLD, states, shape)
    assert 8 not in made[0]


def test_a_warm_row_s_first_guess_is_the_target_s_own_draw():
    """Gumbel top-k with the noise the target draws with: where the row is right, it never errs."""
    grams, dice = new_grams(64), np.random.default_rng(1)
    law = dict(zip(range(10), dice.dirichlet(np.ones(10)).tolist(), strict=True))
    teach(grams, (11, 12), law)
    tokens = np.arange(10)
    firsts = []
    for position in range(200):
        weights = np.log(np.array(list(law.values()))) / WARM
        ranked = np.argsort(-(weights + gumbel_at(3, 1, position, tokens)))
        states = np.array([key(3, 1, position)], np.uint64)
        shape = (5, 0.0)
        made = grow(grams, BARRIERS, new_trust(), NO_STOPS, context(11, 12), WARM, states, shape)
        guessed = made[0][1:]
        firsts.append(ranked[0])
        assert guessed[0] == ranked[0]
        assert len(set(guessed.tolist()) & set(ranked[:4].tolist())) >= 3  # trust may reorder
    assert len(set(firsts)) > 3


def test_what_is_not_in_a_row_takes_its_share():
    grams = new_grams(64)
    teach(grams, (1, 2), {5: 0.2, 6: 0.1})
    claimed = np.empty(WIDTH)
    sums = []
    for position in range(300):
        claims(
            grams, slot_of(grams, 1, 2), np.float32(1.0), np.uint64(key(0, 0, position)), claimed
        )
        assert np.all(claimed >= 0)
        sums.append(claimed.sum())
    assert max(sums) <= 1
    assert np.mean(sums) == pytest.approx(0.3, abs=0.07)


def test_claims_are_corrected_by_what_came():
    grams, trust = new_grams(64), new_trust()
    teach(grams, (1, 2), {5: 0.9})
    text = np.array([1, 2, 5] * 200)
    for first in range(2, len(text), 3):
        score(grams, BARRIERS, trust, text[first - 2 : first + 1], 2, COLD, np.zeros(1, np.uint64))
    entry = trust[0, np.searchsorted(EDGES, 0.9)]
    assert entry[CAME] / entry[CLAIMED] == pytest.approx(1 / 0.9, rel=0.02)


def told(text: list[int], after: list[int]) -> Observation:
    """The target was sure, at every place of a text."""
    tokens = np.array(text, np.int64)
    contexts = np.array([reached(tokens[: end + 1]) for end in range(len(tokens))])
    return Observation(
        offsets=np.array([0, len(text)], np.int32), tokens=tokens,
        node_offsets=np.array([0, len(text)], np.int32), node_tokens=tokens,
        top=np.array(after)[:, None], chances=np.full((len(text), 1), -0.1, np.float32),
        contexts=contexts,
    )  # fmt: skip


def choices(id: str, count: int, tenant: str = "") -> list[Sequence]:
    request = Request(id, Prompt(np.array([1, 2])), Sampling(n=count), tenant=tenant)
    return [Sequence(request, choice, 0) for choice in range(count)]


def test_the_choices_of_a_request_learn_together_and_other_requests_do_not():
    drafter = build(Config(), FACTS)
    one, other = choices("a", 2)
    (stranger,) = choices("b", 1)
    drafter.observe([one], told([1, 2], [2, 7]))
    assert drafter.draft([other], [FULL])[0].tokens.tolist() == [2, 7]
    assert len(drafter.draft([stranger], [FULL])[0]) == 1


def test_what_choices_taught_stays_until_the_last_is_over():
    """Those that wait for room have not been seen yet when the first is forgotten."""
    drafter = build(Config(), FACTS)
    one, other = choices("a", 2)
    drafter.observe([one], told([1, 2], [2, 7]))
    drafter.forget(one.id)
    assert len(drafter.draft([other], [FULL])[0]) == 2
    drafter.forget(other.id)
    assert not drafter._requests
    assert not drafter._readers
    (again, _) = choices("a", 2)  # the same id, another request
    assert len(drafter.draft([again], [FULL])[0]) == 1
    drafter.forget("never/7")


@pytest.mark.parametrize("remember", [True, ("ann", "bob")])
def test_a_tenant_s_requests_learn_together_where_asked_and_never_with_others(remember):
    """A canary: trees are the same bytes whether another tenant taught anything or not."""
    trees = {}
    for company in (False, True):
        drafter, target = build(Config(remember=remember), FACTS), Markov()
        if company:
            for turn in range(3):
                (spy,) = choices(f"spy{turn}", 1, "ann")
                prefill(drafter, [spy], Markov(5))
                for _ in range(20):
                    step(drafter, [spy], [FULL], Markov(5))
                drafter.forget(spy.id)
        made = trees[company] = []
        for turn in range(2):
            (one,) = choices(f"own{turn}", 1, "bob")
            prefill(drafter, [one], target)
            first = drafter.draft([one], [FULL])[0]
            assert (len(first) > 1) == (turn > 0)
            made += [first, *(step(drafter, [one], [FULL], target)[0] for _ in range(15))]
            drafter.forget(one.id)
        (guest,) = choices("guest", 1, "eve")
        drafter.observe([guest], told([1], [2]))
        assert len(drafter.draft([guest], [FULL])[0]) == 1
    assert all(map(same, trees[False], trees[True]))


def test_tenants_not_on_the_list_are_not_remembered():
    drafter = build(Config(remember=("ann",)), FACTS)
    for turn in range(2):
        (one,) = choices(f"{turn}", 1, "bob")
        assert len(drafter.draft([one], [FULL])[0]) == 1
        drafter.observe([one], told([1, 2], [2, 7]))
        drafter.forget(one.id)
    assert not drafter._tenants


def test_tables_of_tenants_are_few_and_can_be_cleared():
    drafter = build(Config(remember=True, tenants=2), FACTS)
    for tenant in ("a", "b", "a", "c"):
        (one,) = choices(tenant, 1, tenant)
        drafter.observe([one], told([1, 2], [2, 7]))
        drafter.forget(one.id)
    assert list(drafter._tenants) == ["a", "c"]
    drafter.clear()
    assert not drafter._tenants


def test_a_table_takes_the_room_it_said_and_no_more():
    drafter = build(Config(rows=100), FACTS)
    one = sequence("long", [1, 2])
    prefill(drafter, [one], Markov())
    for _ in range(60):
        step(drafter, [one], [FULL], Markov())
    lore = drafter._requests["long"]
    assert len(lore.grams.keys) == 128
    assert sum(a.nbytes for a in (*lore.grams, lore.trust)) == drafter.room(5)


def test_nodes_without_chances_are_passed_over():
    """As from a target that was not asked for them, when a prompt is read."""
    drafter = build(Config(), FACTS)
    one = sequence("prompt", [1, 2, 3])
    seen = observation([one.tokens], [one.tokens[:0]], Markov())
    drafter.observe([one], seen)
    assert not drafter._requests["prompt"].grams.keys.any()
    assert alone(one.tokens).shape == (3, 4)
