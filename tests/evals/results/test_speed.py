"""Speedups: pairing, equal work, and that silence buys nothing."""

from __future__ import annotations

import pytest
from evals.results.fabricate import grouped, noisy, sample, trace
from hypothesis import given
from hypothesis import strategies as st
from mmspec_evals.results import speed
from mmspec_evals.results.arms import arms
from mmspec_evals.results.timing import Turn, decode_seconds, pair, total_seconds


def blocks(samples):
    raw = arms(samples)
    merged = speed.bases(raw)
    shared = speed.shared_documents(merged)
    return {name: speed.block(name, merged, raw, shared) for name in merged}


def one(method, base=None, audit=None, **more):
    """Speeds of a method against one plain answer."""
    return blocks([sample(traces=[base or trace()]), sample("m", traces=[method], audit=audit)])[
        "m"
    ]


def test_equal_ids_compare_by_seconds():
    found = one(trace(first=0.5, decode=0.5))
    assert found["speedup_decode"] == pytest.approx(2.0)
    assert found["speedup_e2e"] == pytest.approx(1.5)
    assert found["decode_tps"] == pytest.approx(200.0)
    assert found["ttft_ms"] == found["ttft_ms_p50"] == pytest.approx(500.0)
    assert found["tpot_ms"] == pytest.approx(5.0)
    assert found["equal_tokens_share"] == 1.0
    assert found["speedup_decode_ci95"] is None  # one document


def test_tokens_that_come_with_the_first_are_no_gift():
    # 21 tokens at the price of the first pass, 80 more in the time plain decoding takes for 80
    found = one(trace(decode=0.8, accepted=[20] + [0] * 80))
    assert found["speedup_decode"] == pytest.approx(1.0)
    assert found["decode_tps"] == pytest.approx(100.0)


def test_an_answer_of_one_pass_has_no_decode_speed():
    found = one(trace(decode=0.0, accepted=[100]))
    assert found["speedup_decode"] is None
    assert found["documents_decode"] == 0
    assert found["speedup_e2e"] == pytest.approx(3.0)


def test_stopping_half_way_gains_nothing():
    found = one(trace(tokens=51, decode=0.5))
    assert found["speedup_decode"] == pytest.approx(1.0)
    assert found["speedup_e2e"] == pytest.approx(1.0)
    assert found["equal_tokens_share"] == pytest.approx(51 / 101)


def test_stopping_half_way_loses_half_of_a_gain():
    # twice as fast over half of the way, the rest at the pace of plain decoding
    assert one(trace(tokens=51, decode=0.25))["speedup_decode"] == pytest.approx(1 / 0.75)


def test_a_slow_method_that_stops_is_not_excused_from_its_pace():
    assert one(trace(tokens=51, decode=1.0))["speedup_decode"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("audit", "decode", "e2e"),
    [("near_tie", 2.0, 1 / 0.75), ("violation", 1 / 0.75, 1.2), (None, 1 / 0.75, 1.2)],
)
def test_a_near_tie_that_ends_early_keeps_its_pace(audit, decode, e2e):
    found = one(trace(tokens=51, decode=0.25), audit=audit)
    assert found["speedup_decode"] == pytest.approx(decode)
    assert found["speedup_e2e"] == pytest.approx(e2e)


def test_talking_on_neither_gains_nor_loses():
    found = one(trace(tokens=201, decode=2.0))
    assert found["speedup_decode"] == pytest.approx(1.0)
    assert found["speedup_e2e"] == pytest.approx(1.0)


def test_talking_on_without_telling_phases_loses():
    silent = trace(tokens=201, first=None, decode=None, total=2.5)
    found = one(silent)
    assert found["speedup_decode"] is None
    assert found["speedup_e2e"] == pytest.approx(1.5 / 2.5)


def test_stopping_without_telling_phases_gains_nothing():
    silent = trace(tokens=51, first=None, decode=None, total=1.0)
    assert one(silent)["speedup_e2e"] == pytest.approx(1.0)


def test_one_token_is_no_decoding():
    found = one(trace(tokens=1, decode=0.0))
    assert found["speedup_decode"] == pytest.approx(1.0)
    assert found["speedup_e2e"] == pytest.approx(1.0)
    assert one(trace(tokens=1, decode=0.0), trace(tokens=1, decode=0.0))["speedup_decode"] is None


@given(
    st.integers(2, 200),
    st.integers(1, 200),
    st.floats(0.01, 1.0),
    st.floats(0.1, 10.0),
)
def test_leaving_out_tokens_never_beats_saying_them(tokens, kept, rate, prefill):
    """A method at any steady pace, cut anywhere, is no faster than the same uncut, if it gains."""
    kept = min(kept, tokens)
    base = Turn(tokens, prefill + tokens - 1, tokens - 1.0)
    whole = Turn(tokens, prefill + rate * (tokens - 1), rate * (tokens - 1))
    cut = Turn(kept, prefill + rate * (kept - 1), rate * (kept - 1))
    for credit in (decode_seconds, total_seconds):
        full = credit(base, whole, False)
        part = credit(base, cut, False)
        assert part[0] == full[0]
        assert part[1] >= full[1] * (1 - 1e-9)


def test_common_prefix_by_rounds():
    # 1 + 4 per pass: 5 passes give 25 tokens; parted after 10: passes 2 to 2 of 2 to 5
    method = trace(tokens=25, decode=0.4, accepted=[4] * 5, given=list(range(10)) + [999] * 15)
    found = one(method, trace(tokens=25, decode=2.4))
    assert found["speedup_decode_common"] == pytest.approx((2.4 * 9 / 24) / (0.4 * 1 / 4))


def test_base_is_the_mean_of_both_plain_measurements():
    found = blocks(
        [
            sample(traces=[trace(decode=1.0)]),
            sample("vanilla.last", traces=[trace(decode=3.0)]),
            sample("m", traces=[trace(decode=1.0)]),
        ]
    )
    assert found["m"]["speedup_decode"] == pytest.approx(2.0)
    assert found["vanilla"]["speedup_decode"] == pytest.approx(1.0)
    assert found["vanilla"]["drift"] == pytest.approx(3.5 / 1.5)
    assert "vanilla.last" not in found


def test_repeats_are_averaged_within_the_document():
    found = blocks(
        [
            sample(traces=[trace(decode=1.0)], repeat=0),
            sample(traces=[trace(decode=2.0)], repeat=1),
            sample("m", traces=[trace(decode=1.0)], repeat=0),
            sample("m", traces=[trace(decode=0.5)], repeat=1),
        ]
    )["m"]
    assert found["speedup_decode"] == pytest.approx(2.0)
    assert found["n"] == 1


def test_seconds_pair_only_within_a_process():
    slow, quick = trace(decode=10.0), trace(decode=1.0)
    found = blocks(
        [
            sample(traces=[slow], session="s1"),
            sample("m", traces=[slow], session="s2"),
            sample(traces=[slow], doc="d1", session="s1"),
            sample(traces=[quick], doc="d1", session="s2"),
            sample("m", traces=[quick], doc="d1", session="s2"),
        ]
    )["m"]
    assert found["n"] == 1
    assert found["speedup_decode"] == pytest.approx(1.0)


def test_failed_documents_are_left_out_for_all():
    made = []
    for number in range(4):
        base = trace(decode=1.0 + number)
        made.append(sample(doc=f"d{number}", traces=[base]))
        made.append(sample("m", f"d{number}", [trace(decode=0.5 + number / 2)]))
        made.append(sample("k", f"d{number}", [base], error="oom" if number == 3 else None))
    found = blocks(made)
    assert found["m"]["n"] == found["k"]["n"] == found["vanilla"]["n"] == 3


def test_a_method_that_mostly_fails_takes_nobody_with_it():
    made = []
    for number in range(5):
        made.append(sample(doc=f"d{number}"))
        made.append(sample("m", f"d{number}"))
        made.append(sample("k", f"d{number}", error="oom" if number else None))
    found = blocks(made)
    assert found["m"]["n"] == 5
    assert found["k"]["n"] == 1


def test_turns_are_paired_one_by_one():
    base = [trace(tokens=101, decode=1.0), trace(tokens=11, decode=0.1)]
    method = [trace(tokens=101, decode=0.5), trace(tokens=101, decode=1.0)]
    found = blocks([sample(traces=base), sample("m", traces=method)])["m"]
    # the second turn counts with the base's 10 tokens, at the method's rate
    assert found["speedup_decode"] == pytest.approx(1.1 / (0.5 + 0.1))
    assert (
        pair(
            grouped(sample("m", traces=method))["m"]["d0"],
            grouped(sample(traces=base[:1]))["vanilla"]["d0"],
        )
        is None
    )


def test_against_transformers_too():
    found = blocks(
        [
            sample(),
            sample("hf_greedy", traces=[trace(decode=2.0)]),
            sample("m", traces=[trace(decode=0.5)]),
        ]
    )
    assert found["m"]["speedup_decode_vs_hf_greedy"] == pytest.approx(4.0)
    assert found["vanilla"]["speedup_decode_vs_hf_greedy"] == pytest.approx(2.0)
    assert "speedup_decode_vs_hf_greedy" not in found["hf_greedy"]


@pytest.mark.parametrize(("documents", "word"), [(19, None), (20, "faster")])
def test_words_need_documents(documents, word):
    assert blocks(noisy({"m": 2.0}, documents))["m"]["verdict"] == word


def test_a_noisy_method_that_is_the_same_covers_one():
    found = blocks(noisy({"m": 1.0}, 40))
    for name in ("m", "vanilla"):
        low, high = found[name]["speedup_decode_ci95"]
        assert low <= 1.0 <= high
    assert found["m"]["verdict_decode"] == "no difference shown"
    low, high = found["vanilla"]["drift_ci95"]
    assert low < 1.0 < high


def test_contexts_part_where_they_should():
    assert [speed.bucket(n) for n in (1, 1023, 1024, 4096, 20000, 65536)] == [
        "<1k", "<1k", "1k-4k", "4k-16k", "16k-64k", ">=64k",
    ]  # fmt: skip
    made = noisy({"m": 2.0}, 5) + noisy({"m": 3.0}, 5, prompt_tokens=5000)
    renamed = [
        s
        if s.prompt_tokens == 100
        else sample(s.method, "x" + s.doc_id, s.traces, prompt_tokens=5000)
        for s in made
    ]
    found = blocks(renamed)["m"]["by_context"]
    assert list(found) == ["<1k", "4k-16k"]
    assert found["4k-16k"]["speedup_decode"] == pytest.approx(3.0, rel=0.1)
    assert found["4k-16k"]["n"] == 5


def test_unknown_is_null():
    silent = trace(first=None, decode=None, total=1.5, ids=False)
    found = one(silent)
    assert found["ttft_ms"] is None
    assert found["decode_tps"] is None
    assert found["speedup_decode_common"] is None
    assert found["peak_mib"] is None
    assert found["speedup_e2e"] == pytest.approx(1.0)
