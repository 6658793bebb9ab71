"""From outcomes to numbers, by hand."""

from __future__ import annotations

import pytest
from mmspec_evals.errors import PlanError
from mmspec_evals.serving.blocks import blocks
from mmspec_evals.serving.job import Outcome
from mmspec_evals.serving.summary import details, goals, peak, summarise

# Ten tokens in three chunks; four tokens in two; one token; one failure.
LONG = Outcome(5.0, ttft=0.2, latency=1.1, gaps=[0.4, 0.5], prompt_tokens=7, output_tokens=10)
SHORT = Outcome(5.5, ttft=0.1, latency=0.4, gaps=[0.3], prompt_tokens=5, output_tokens=4)
SINGLE = Outcome(8.0, ttft=0.3, latency=0.3, prompt_tokens=1, output_tokens=1)
FAILED = Outcome(8.0, error="HTTP 503: busy", ttft=9.0, latency=9.0, output_tokens=99)
ALL = [LONG, SHORT, SINGLE, FAILED]


def test_totals():
    told = summarise(ALL, 4.0)
    assert (told["completed"], told["failed"]) == (3, 1)
    assert (told["total_input_tokens"], told["total_output_tokens"]) == (13, 15)
    assert told["request_throughput"] == 0.75
    assert told["output_throughput"] == 3.75
    assert told["total_token_throughput"] == 7.0
    assert told["request_goodput"] is None
    assert told["max_concurrent_requests"] == 2


def test_tpot_counts_tokens_and_itl_counts_chunks():
    told = summarise(ALL, 4.0, (50, 99.9))
    # (1.1 - 0.2) / 9 = 0.1 and (0.4 - 0.1) / 3 = 0.1; a single token has none.
    assert told["mean_tpot_ms"] == pytest.approx(100)
    assert told["std_tpot_ms"] == pytest.approx(0, abs=1e-9)
    assert told["median_itl_ms"] == pytest.approx(400)
    assert told["mean_ttft_ms"] == pytest.approx(200)
    assert told["std_ttft_ms"] == pytest.approx((20000 / 3) ** 0.5)  # of the population
    assert told["p50_e2el_ms"] == pytest.approx(400)
    assert told["p99.9_e2el_ms"] == pytest.approx(400 + 0.998 * 700)


@pytest.mark.parametrize(
    ("objectives", "good"),
    [
        ({"ttft": 200}, 2),  # a limit may just be met
        ({"ttft": 199}, 1),
        ({"tpot": 99}, 1),  # a single token keeps any
        ({"tpot": 101, "e2el": 500}, 2),
        ({"e2el": 1}, 0),
    ],
)
def test_goodput(objectives, good):
    told = summarise(ALL, 4.0, objectives=objectives)
    assert told["request_goodput"] == pytest.approx(good / 4)
    assert told["slo_attainment"] == pytest.approx(good / 4)  # of four, the failure included


def test_nothing_came():
    told = summarise([FAILED], 2.0)
    assert told["completed"] == 0
    assert told["mean_ttft_ms"] is None
    assert "n/a" in blocks(told, (50,))


def test_goals():
    assert goals(["ttft:500", "e2el:2.5"]) == {"ttft": 500, "e2el": 2.5}
    for wrong in ("ttft", "ttft:x", "itl:5", "tpot:-1", "tpot:nan"):
        with pytest.raises(PlanError):
            goals([wrong])


def test_peak_is_exact():
    back_to_back = [Outcome(0.0, latency=1.0), Outcome(1.0, latency=1.0)]
    assert peak(back_to_back) == 1
    assert peak([*back_to_back, Outcome(0.5, latency=1.0)]) == 2
    assert peak([]) == 0


def test_details_and_blocks():
    told = details(ALL)
    assert told["start_times"] == [0, 0.5, 3, 3]
    assert told["output_lens"] == [10, 4, 1, 0]
    assert told["errors"][3] == "HTTP 503: busy"
    speculation = {
        "spec_decode_num_drafts": 4,
        "spec_decode_acceptance_length": 2.25,
        "spec_decode_per_position_acceptance_rates": [0.75, 0.5],
    }
    shown = blocks(summarise(ALL, 4.0) | speculation | {"request_rate": "inf"}, (50, 90))
    lines = [line.split() for line in shown.split("\n")]
    assert ["Successful", "requests:", "3"] in lines
    assert ["P90", "TTFT", "(ms):", "280.00"] in lines
    assert ["Acceptance", "length:", "2.25"] in lines
    assert ["Position", "1:", "50.00"] in lines
    assert "configured" not in shown
