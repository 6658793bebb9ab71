"""Drafters that do not pay fall silent, are heard again, and never change a text."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from running import engine as plainly
from running import reported, run
from timed import PASS, ROW, Chain, Clock, engine

from mmspec.core.request import Prompt, Request, Sampling, Speculation
from mmspec.engine.goodput import ENOUGH, EVERY, LAST, STALE, Ledger, pays, spot
from mmspec.engine.trial import LATE, PAUSE, PROBE, Terms, Trial

PROMPT = Prompt(np.random.default_rng(1).integers(3, 90, 20))
FIRST = ENOUGH * (EVERY + 1)  # rounds until it is known what a plain one costs
WORD, QUOTE = "text.word", "retrieval.quote"


def never(place):
    return 0


def always(place):
    return 99


@pytest.fixture(scope="module")
def target():
    return tiny.target("llama", "bitwise")


@pytest.fixture(scope="module")
def text(target):
    return run(plainly(target), {"a": PROMPT}, saying(460))["a"]


def saying(tokens):
    return Sampling(temperature=0.0, max_tokens=tokens, ignore_eos=True)


def spoken(target, clock, drafters, text, tokens, speculation=Speculation(), **options):
    loop = engine(target, clock, drafters, **options)
    said, report = reported(loop, {"a": PROMPT}, saying(tokens), speculation)["a"]
    assert said == text[:tokens]
    return loop, report


def test_who_loses_falls_silent_after_64_rounds_and_the_text_is_the_same(target, text):
    clock = Clock()
    drafter = Chain(clock, {"a": text}, never, cost=0.2)
    loop, report = spoken(target, clock, {WORD: drafter}, text, 200)
    known = [place for place in range(FIRST) if place % (EVERY + 1) != EVERY]
    assert drafter.asked["a"] == [*known, *range(FIRST, FIRST + 64)]
    paid = 1 / (1 + 3 * ROW + 0.2)
    assert report.off_reasons == {WORD: f"pays {paid:.2f}x of plain over 64 rounds"}
    assert report.rounds == 200
    assert loop.stats.silenced == {WORD: 1}


def test_who_pays_goes_on_and_is_silent_only_while_a_plain_round_is_timed(target, text):
    clock = Clock()
    drafter = Chain(clock, {"a": text}, always, cost=0.2)
    loop, report = spoken(target, clock, {WORD: drafter}, text, 400)
    assert report.off_reasons == {}
    assert loop.stats.silenced == {}
    # Before the last token, too, there is nothing to guess.
    assert report.rounds == len(drafter.asked["a"]) + ENOUGH + 1
    assert report.tau > 3.5


@pytest.mark.parametrize(
    ("speculation", "options"),
    [
        (Speculation(drafters=(WORD,)), {}),
        (Speculation(adaptive=False), {}),
        (Speculation(), {"judge_rounds": 0}),
    ],
)
def test_who_is_asked_for_by_name_is_never_judged_nor_left_out(target, text, speculation, options):
    clock = Clock()
    drafter = Chain(clock, {"a": text}, never, cost=5.0)
    _, report = spoken(target, clock, {WORD: drafter}, text, 90, speculation, **options)
    assert len(drafter.asked["a"]) == 89  # before the last token there is nothing to guess
    assert report.off_reasons == {}


def test_the_silent_are_heard_again_and_know_all_they_missed(target, text):
    clock = Clock()
    began, early = FIRST, FIRST - ENOUGH
    woken = began + 64 + PAUSE
    drafter = Chain(clock, {"a": text}, lambda place: 99 if place >= woken else 0, cost=0.2)
    _, report = spoken(target, clock, {WORD: drafter}, text, 460)
    asked = np.array(drafter.asked["a"])
    assert asked[early + 64] == woken
    assert not np.any((asked > began + 63) & (asked < woken))
    assert len(asked) - early - 64 > PROBE  # it has passed, and goes on
    assert report.off_reasons == {}
    # All but what the last round decided, each token once; in silence many together.
    seen = np.concatenate(drafter.shown["a"])
    whole = [*PROMPT.ids.tolist(), *text]
    assert seen.tolist() == whole[: len(seen)]
    assert max(map(len, drafter.shown["a"])) == LATE


def test_a_probe_that_fails_doubles_the_silence():
    trial = Trial((WORD,), Terms(64, 1.03), Ledger(), (0, 0))
    spoke = []
    for round in range(64 + PAUSE + PROBE + 2 * PAUSE + PROBE + 4 * PAUSE):
        if not trial.silent(0):
            spoke.append(round)
            trial.charge(0, 0.5, asked=True)
        trial.close(1.0, 0.0)
    first, second = 64 + PAUSE, 64 + PAUSE + PROBE + 2 * PAUSE
    assert spoke == [
        *range(64), *range(first, first + PROBE), *range(second, second + PROBE)
    ]  # fmt: skip


def test_who_waits_at_no_cost_is_not_judged_for_waiting(target, text):
    clock = Clock()
    drafter = Chain(clock, {"a": text}, always, length=0, cost=0.005, model=False)
    _, report = spoken(target, clock, {QUOTE: drafter}, text, 150)
    assert len(drafter.asked["a"]) == 149
    assert report.off_reasons == {}


def test_waiting_that_costs_is_judged(target, text):
    clock = Clock()
    drafter = Chain(clock, {"a": text}, always, length=0, cost=0.02, model=False)
    _, report = spoken(target, clock, {QUOTE: drafter}, text, 150)
    assert len(drafter.asked["a"]) == 64 + ENOUGH - 1  # where nothing is said the price is known
    assert QUOTE in report.off_reasons


def test_the_dearer_of_two_who_say_the_same_falls_silent_alone(target, text):
    clock = Clock()
    # Whose score is equal, the first to speak has said it; the other is paid for nothing.
    cheap = Chain(clock, {"a": text}, always, model=False)
    dear = Chain(clock, {"a": text}, always, cost=0.6)
    _, report = spoken(target, clock, {WORD: dear, QUOTE: cheap}, text, 400, enough=1e9)
    assert set(report.off_reasons) == {WORD}
    assert len(dear.asked["a"]) == FIRST - ENOUGH + 64
    assert report.tau > 3.5


def test_two_who_share_what_neither_earns_alone_do_not_fall_together():
    trial = Trial((WORD, QUOTE), Terms(64, 1.03), Ledger(), (0, 0))
    for turn in range(64):
        trial.charge(0, 0.5, asked=True)
        trial.charge(1, 0.49, asked=True)
        trial.saw([1, 1], [0, 1] if turn % 2 else [1, 0])
        fallen = trial.close(1.0, 0.0)
    assert fallen == [WORD]
    for _ in range(64):
        trial.charge(1, 0.49, asked=True)
        trial.saw([0, 1], [0, 1])
        assert trial.close(1.0, 0.0) == []
    assert not trial.silent(1)


def test_a_batch_is_judged_by_its_own_price_and_named_drafters_speak_in_it(target, text):
    clock = Clock()
    texts = {"a": text, "b": text}
    drafter = Chain(clock, texts, always, cost=0.1)
    loop = engine(target, clock, {WORD: drafter})
    loop.submit(Request("a", PROMPT, saying(80)))
    loop.submit(Request("b", PROMPT, saying(80), Speculation(drafters=(WORD,))))
    said: dict[str, list[int]] = {}
    while loop.busy:
        for delta in loop.step():
            said.setdefault(delta.request_id, []).extend(delta.tokens)
    assert said == {"a": text[:80], "b": text[:80]}
    # Nothing plain was timed while both were there, so nobody was kept from speaking.
    assert drafter.asked["a"][0] == drafter.asked["b"][0] == 0
    assert loop.ledger.price(spot(100, 2)) is None


def test_prices_are_medians_known_late_and_measured_anew():
    ledger, here = Ledger(), spot(900, 3)
    for seconds in (1.0, 50.0):
        for _ in range(EVERY):
            assert not ledger.due(here)
            ledger.drafted(here)
        assert ledger.due(here)
        ledger.plain(here, seconds)
        assert ledger.price(here) is None
    ledger.plain(here, 2.0)
    assert ledger.price(here) == 2.0
    assert ledger.price(spot(900, 2)) is None
    for _ in range(STALE):
        assert not ledger.due(here)
        ledger.drafted(here)
    assert ledger.due(here)
    for _ in range(LAST):
        ledger.plain(here, 3.0)
    assert ledger.price(here) == 3.0
    assert not ledger.due(here)


def test_what_asking_a_model_costs_is_known_when_both_its_time_and_a_pass_are(target, text):
    clock = Clock()
    drafter = Chain(clock, {"a": text}, always, cost=0.7)
    loop, _ = spoken(target, clock, {WORD: drafter}, text, 300)
    here = spot(len(PROMPT.ids) + 10, 1)
    assert loop.ledger.asking(WORD, here) == pytest.approx(0.7 / PASS)
    assert loop.ledger.asking(QUOTE, here) is None  # who runs no model is not counted
    assert loop.ledger.asking(WORD, spot(90_000, 1)) is None  # no pass was timed there
    two = spot(40, 2)
    for _ in range(ENOUGH):
        loop.ledger.plain(two, 1.4)  # of two sequences: each pays half of it
    assert loop.ledger.asking(WORD, two) == pytest.approx(0.7 / (1.4 / 2))


def test_a_dear_model_is_asked_less_often_than_a_cheap_one(target, text):
    asked = {}
    for cost in (0.1, 3.0):
        clock = Clock()
        model = Chain(clock, {"a": text}, lambda place: 2, cost=cost)
        quote = Chain(clock, {"a": text}, lambda place: place % 2, length=2, model=False)
        options = {"fusion": "calibrated", "enough": None, "judge_floor": 0.0}
        spoken(target, clock, {QUOTE: quote, WORD: model}, text, 200, **options)
        asked[cost] = len(model.asked["a"])
    assert asked[3.0] < asked[0.1] / 2


def test_spots_are_half_octaves_of_the_mean_context():
    assert spot(100, 1) == spot(500, 1) == spot(1000, 2)._replace(batch=1)
    lengths = [spot(tokens, 1).length for tokens in (511, 512, 724, 725, 1024, 1449, 2048)]
    assert lengths == [0, 1, 1, 2, 3, 4, 5]


SHARES = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=4)


@given(SHARES)
def test_where_each_pays_all_do(shares):
    """What lets the policy judge drafters one by one."""
    least = min(pays(1.0, said, cost) for said, cost in shares)
    said, cost = (sum(column) for column in zip(*shares, strict=True))
    if least >= 1.0:
        assert pays(1.0, said, cost) >= least * (1 - 1e-9)


def test_with_losers_alone_an_answer_is_as_fast_as_plain_but_for_what_trying_costs(target, text):
    clock = Clock()
    loud = Chain(clock, {"a": text}, never, cost=0.3, watch=0.1)
    spoken(target, clock, {WORD: loud}, text, 460)
    rounds, prefill = 460, PASS + ROW * 18
    tried = FIRST - ENOUGH + 64 + PROBE
    trying = tried * (3 * ROW + 0.3 + 0.1) + (ENOUGH + 1) * 0.1
    reading = (PAUSE + 64) / LATE * 0.1
    assert clock.now <= rounds * PASS + prefill + trying + reading + 1.0


def test_rounds_beside_a_prefill_count_for_nobody(target, text):
    """A device may still be busy with the prompt when it is asked for the round."""
    clock = Clock()
    drafter = Chain(clock, {"a": text, "b": text, "c": text}, always, cost=0.1)
    loop = engine(target, clock, {WORD: drafter}, step_tokens=64)
    loop.submit(Request("a", PROMPT, saying(60)))
    while not loop.scheduler.running or loop.scheduler.running[0].pending > 1:
        loop.step()
    long = Prompt(np.random.default_rng(2).integers(3, 90, 300))
    loop.submit(Request("b", long, saying(4), Speculation(enabled=False)))
    for _ in range(9):  # chunks of 32: the first sequence decodes beside them
        loop.step()
    assert loop.ledger.price(spot(25, 1)) is None
    assert (
        len(drafter.asked["a"]) >= 8
    )  # and nothing is run plain for a measure that would be wrong
    while loop.busy:
        loop.step()
