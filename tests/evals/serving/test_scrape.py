"""Scrape arithmetic, on numbers made by hand."""

from __future__ import annotations

import pytest
from mmspec_evals.serving.scrape import Counts, between, parse

TEXT = """# HELP vllm:spec_decode_num_drafts_total Drafts
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="a {odd} \\"name\\" = 7"} 10.0
vllm:spec_decode_num_drafts_total{engine="1",model_name="m"} 30
vllm:spec_decode_num_drafts_created{engine="0"} 1.7e+09
vllm:spec_decode_num_draft_tokens_total 120
vllm:spec_decode_num_accepted_tokens_total 50.0 1395066363000
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",position="0"} 20
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="1",position="0"} 12
vllm:spec_decode_num_accepted_tokens_per_pos_total{position="1"} 18
vllm:spec_decode_num_accepted_tokens_per_pos_total{position="x"} 99
vllm:generation_tokens_total 5000
mmspec_engine_passes_total 80
vllm:spec_decode_num_drafts_total{engine="2"} broken
not a sample at all
"""


def test_parse_sums_engines_and_passes_over_the_rest():
    assert parse(TEXT) == Counts(
        drafts=40, draft_tokens=120, accepted=50, accepted_at={0: 32, 1: 18}, passes=80
    )


def test_parse_finds_nothing():
    assert parse("") is None
    assert parse("vllm:generation_tokens_total 5\nmmspec_engine_passes_total 80\n") is None


def test_difference():
    before = Counts(drafts=10, draft_tokens=20, accepted=8, accepted_at={0: 6, 1: 2}, passes=30)
    found = between(before, parse(TEXT))
    assert found.drafts == 30
    assert found.draft_tokens == 100
    assert found.accepted == 42
    assert found.acceptance_length == pytest.approx(1 + 42 / 30)
    assert found.acceptance_rate == pytest.approx(42.0)
    assert found.per_position == [pytest.approx(26 / 30), pytest.approx(16 / 30)]
    assert found.tau == pytest.approx(1 + 42 / 50)
    named = found.named()
    assert named["spec_decode_num_drafts"] == 30
    assert named["spec_decode_acceptance_length"] == pytest.approx(2.4)


def test_positions_may_appear_meanwhile():
    before = Counts(drafts=1, draft_tokens=4, accepted=1, accepted_at={0: 1})
    after = Counts(drafts=3, draft_tokens=12, accepted=6, accepted_at={0: 3, 1: 2, 2: 1})
    found = between(before, after)
    assert found.per_position == [1.0, 1.0, 0.5]
    assert found.tau is None
    assert "spec_decode_tau" not in found.named()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, Counts(drafts=1, draft_tokens=1)),
        (Counts(), None),
        (Counts(drafts=5, draft_tokens=9), Counts(drafts=5, draft_tokens=9)),
        (Counts(drafts=5, draft_tokens=9), Counts(drafts=2, draft_tokens=3)),
    ],
    ids=["no before", "no after", "no draft", "restarted"],
)
def test_no_difference(before, after):
    assert between(before, after) is None
