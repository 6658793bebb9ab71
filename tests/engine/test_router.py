"""Routing by what a request holds: rules, reports, and that nobody watches who was not chosen."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from drafting import Random
from running import engine

from mmspec.core.request import Media, Prompt, Request, Sampling, Speculation
from mmspec.engine.router import choose

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
