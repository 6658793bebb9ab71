"""Routing by what a request holds: rules, reports, and that nobody watches who was not chosen."""

from __future__ import annotations

import numpy as np
import pytest
import timed
import tiny
from drafting import Random
from running import engine, run
from timed import Chain, Clock

from mmspec.core.config import EngineConfig
from mmspec.core.drafter import Needs
from mmspec.core.request import Media, Prompt, Request, Sampling, Speculation
from mmspec.engine.goodput import SURE, Ledger, cell
from mmspec.engine.router import choose
from mmspec.engine.routing import AGAIN, Router

FAMILY = ("text.eagle", "vision.vispec", "retrieval.suffix", "text.draft_model")
MEDIA = (Media("x", 1, 2, {}),)


def asked(media=(), **speculation):
    prompt = Prompt(np.arange(5), media)
    return Request("a", prompt, Sampling(), Speculation(**speculation))


@pytest.mark.parametrize(
    ("request_", "addresses", "name", "off"),
    [
        (asked(), FAMILY, "text", {"vision.vispec"}),
        (asked(MEDIA), FAMILY, "vision", {"text.eagle", "text.draft_model"}),
        (asked(MEDIA), ("text.eagle", "retrieval.suffix"), "text, blind", set()),
        (asked(MEDIA), ("vision.vispec",), "vision", set()),
        (asked(MEDIA, drafters=("text.eagle",)), FAMILY, "asked", set()),
        (asked(MEDIA, enabled=False), FAMILY, "off", set()),
        (asked(), (), "text", set()),
    ],
)
def test_pictures_go_to_those_who_see(request_, addresses, name, off):
    route = choose(request_, addresses, 4096)
    assert route.name == name
    assert set(route.off) == off
    assert all(reason.startswith("routed: ") for reason in route.off.values())


class Watched(Random):
    """Counts the sequences it was shown."""

    def __init__(self, vocabulary):
        super().__init__(vocabulary)
        self.saw = set()

    def observe(self, sequences, seen):
        self.saw |= {one.request.id for one in sequences}
        super().observe(sequences, seen)


def test_only_those_chosen_watch_and_the_report_says_so():
    target = tiny.target("llava")
    seeing, reading, quoting = (Watched(tiny.VOCABULARY) for _ in range(3))
    loop = engine(target, {"vision.eye": seeing, "text.word": reading, "retrieval.memory": quoting})
    pictured = next(one for one in tiny.prompts("llava") if one.media)
    plain = Prompt(np.arange(3, 20))
    for id, prompt in (("pictured", pictured), ("plain", plain)):
        loop.submit(Request(id, prompt, Sampling(temperature=0.0, max_tokens=6)))
    reports = {}
    while loop.busy:
        for delta in loop.step():
            if delta.report is not None:
                reports[delta.request_id] = delta.report
    assert seeing.saw == {"pictured"}
    assert reading.saw == {"plain"}
    assert quoting.saw == {"pictured", "plain"}
    assert reports["pictured"].route == "vision"
    assert reports["plain"].off_reasons == {"vision.eye": "routed: no picture"}
    assert loop.stats.routed == {"vision": 1, "text": 1}


WINGS = ("longctx.window", "longctx.excerpts", "text.eagle", "text.small", "vision.eye")


class Model:
    """Runs one, or so it says; and may decline."""

    needs = Needs()
    runs_model = True

    def __init__(self, why=None):
        self._why = why

    def declines(self, request):
        return self._why


def router(ledger=None, declining=(), **options):
    drafters = {one: Model("no" if one in declining else None) for one in WINGS}
    drafters["retrieval.suffix"] = Watched(tiny.VOCABULARY)
    return Router(drafters, EngineConfig(long_from=100, **options), ledger or Ledger())


def prompted(tokens, media=(), shared=0, **speculation):
    prompt = Prompt(np.arange(tokens), media, shared)
    return Request("a", prompt, Sampling(), Speculation(**speculation))


def speaks(route):
    return [one for one in (*WINGS, "retrieval.suffix") if one not in route.off]


@pytest.mark.parametrize(
    ("request_", "declining", "name", "who"),
    [
        (prompted(99), (), "text", "text.eagle"),
        (prompted(100), (), "long", "longctx.window"),
        (prompted(100), ("longctx.window",), "long", "longctx.excerpts"),
        (prompted(100), ("longctx.window", "longctx.excerpts"), "text", "text.eagle"),
        (prompted(50, shared=40), (), "text", "text.eagle"),
        (prompted(50, shared=40), ("text.eagle", "text.small"), "long", "longctx.window"),
        (prompted(50), ("text.eagle", "text.small"), "text", None),
        (prompted(100, MEDIA), (), "vision", "vision.eye"),
        (prompted(100, MEDIA), ("vision.eye",), "long", "longctx.window"),
        (prompted(99, MEDIA), ("vision.eye",), "vision", None),
    ],
)
def test_one_model_watches_and_what_quotes_stands_beside(request_, declining, name, who):
    route = router(declining=declining).route(request_, 0)
    assert route.name == name
    assert speaks(route) == [*([who] if who else []), "retrieval.suffix"]
    assert all(why == "no" or why.startswith("routed: ") for why in route.off.values())


def fed(**speeds):
    ledger = Ledger()
    for address, (tokens, beside, speed) in speeds.items():
        accepted = round(1000 * (speed - 1)) if speed >= 1 else 0
        cost = 0.0 if speed >= 1 else 1000 / speed - 1000
        ledger.feed(address.replace("_", "."), cell(tokens, beside + 1), 1000, accepted, cost)
    return ledger


def test_the_one_who_paid_best_for_such_requests_is_chosen():
    made = router(fed(text_eagle=(50, 0, 1.2), text_small=(50, 0, 1.7)))
    first, *others = [speaks(made.route(prompted(50), 0))[0] for _ in range(AGAIN)]
    assert first == "text.eagle"  # now and then another, to see what it pays today
    assert set(others) == {"text.small"}
    assert speaks(made.route(prompted(50), 0))[0] == "text.small"  # the next one's turn
    # Of other lengths and batches nothing is known.
    assert speaks(made.route(prompted(20), 0))[0] == "text.eagle"
    assert speaks(made.route(prompted(50), 6))[0] == "text.eagle"


def test_everybody_is_tried_once():
    made = router(fed(text_eagle=(50, 0, 1.9)))
    assert speaks(made.route(prompted(50), 0))[0] == "text.small"
    assert speaks(made.route(prompted(200), 0))[0] == "longctx.window"


def test_where_nobody_pays_no_model_watches_but_now_and_then():
    made = router(fed(text_eagle=(50, 0, 0.8), text_small=(50, 0, 1.01)))
    routes = [made.route(prompted(50), 0) for _ in range(AGAIN + 1)]
    assert [len(speaks(route)) for route in routes] == [2] + [1] * (AGAIN - 1) + [2]
    assert routes[1].off["text.eagle"] == "routed: pays 0.80x of plain for such requests"
    assert routes[1].name == "text"


def test_one_request_that_did_not_pay_is_not_enough_to_go_without():
    ledger = Ledger()
    for address in ("text.eagle", "text.small"):
        ledger.feed(address, cell(50, 1), SURE - 1, 0, SURE)
    made = router(ledger)
    assert all(len(speaks(made.route(prompted(50), 0))) == 2 for _ in range(AGAIN))
    ledger.feed("text.eagle", cell(50, 1), 1, 0, 0.0)
    assert len(speaks(made.route(prompted(50), 0))) == 2  # another's turn
    assert len(speaks(made.route(prompted(50), 0))) == 1


@pytest.mark.parametrize("fixed", [{"adaptive": False}, {"drafters": ("text.eagle",)}])
def test_measures_have_no_say_where_they_are_not_wanted(fixed):
    ledger = fed(text_eagle=(50, 0, 0.8), text_small=(50, 0, 1.7))
    asked = prompted(50, **fixed)
    assert "text.eagle" in speaks(router(ledger).route(asked, 0))
    assert {speaks(router(ledger, judge_rounds=0).route(prompted(50), 0))[0] for _ in "abc"} == {
        "text.eagle"
    }


def test_the_better_of_two_is_learned():
    target = tiny.target("llama", "bitwise")
    prompts = {str(index): Prompt(np.arange(3, 23) + index) for index in range(8)}
    texts = run(engine(target), prompts, Sampling(temperature=0.0, max_tokens=120))
    clock = Clock()
    drafters = {
        "text.poor": Chain(clock, texts, lambda place: place % 2, cost=0.1),
        "text.rich": Chain(clock, texts, lambda place: 3, cost=0.1),
    }
    loop = timed.engine(target, clock, drafters)
    for id, prompt in prompts.items():
        said = run(loop, {id: prompt}, Sampling(temperature=0.0, max_tokens=120))
        assert said == {id: texts[id]}
    assert next(iter(drafters["text.poor"].asked)) == "0"
    assert list(drafters["text.rich"].asked)[-4:] == ["4", "5", "6", "7"]
    assert not {"4", "5", "6", "7"} & set(drafters["text.poor"].asked)
